"""Checks of machines that exist: their disks, serial numbers and management addresses."""

from typing import Any

import pytest

from hapacs.services.model import GROUPS
from tests.unit.provisioning.conftest import Data, Problems

P = "sites.main"


@pytest.fixture
def main(hospital: Data) -> Any:
    return hospital["sites"]["main"]


def test_example_is_sound(hospital: Data, problems: Problems) -> None:
    assert problems(hospital) == {}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_each_node_names_as_many_disks_as_its_das_has(
    hospital: Data, main: Data, problems: Problems, count: int
) -> None:
    main["nodes"]["pacs2"]["das_devices"] = [f"/dev/disk/by-id/disk-{index}" for index in range(count)]
    assert f"{count} different devices" in problems(hospital)[f"{P}.nodes.pacs2.das_devices"]


def test_disk_named_twice_at_a_node(hospital: Data, main: Data, problems: Problems) -> None:
    main["nodes"]["pacs2"]["das_devices"].append("/dev/disk/by-id/ata-DISK-0003")
    assert problems(hospital) == {
        f"{P}.nodes.pacs2.das_devices": "/dev/disk/by-id/ata-DISK-0003 is named 2 times; name it once"
    }


@pytest.mark.parametrize(
    ("path", "sound"),
    [
        ("/dev/disk/by-id/wwn-0x5000c500a1b2c3d4", True),
        ("/dev/disk/by-path/pci-0000:00:1f.2-ata-1", True),
        ("/dev/sdb", False),
        ("/dev/nvme0n1", False),
        ("/dev/disk/by-uuid/0", False),
        ("/dev/disk/by-id/../../sdb", False),
    ],
)
def test_disk_has_a_name_that_stays(hospital: Data, main: Data, problems: Problems, path: str, sound: bool) -> None:
    main["nodes"]["pacs1"]["das_devices"][0] = path
    found = problems(hospital)
    assert found == {} if sound else "`ls -l /dev/disk/by-id`" in found[f"{P}.nodes.pacs1.das_devices.0"]


def test_one_disk_at_two_nodes(hospital: Data, main: Data, problems: Problems) -> None:
    main["nodes"]["pacs1"]["das_devices"][1] = "/dev/disk/by-id/ata-DISK-0007"
    assert problems(hospital) == {
        "sites.second.nodes.dr1.das_devices": f"/dev/disk/by-id/ata-DISK-0007 is already at {P}.nodes.pacs1; "
        "a disk belongs to one node"
    }


def test_equal_machines_have_equal_slots(hospital: Data, main: Data, problems: Problems) -> None:
    for node in main["nodes"].values():
        node["das_devices"] = ["/dev/disk/by-path/pci-0-ata-1", "/dev/disk/by-path/pci-0-ata-2"]
    assert problems(hospital) == {}


def test_one_serial_number_at_two_nodes(hospital: Data, main: Data, problems: Problems) -> None:
    for name in ("pacs1", "pacs3"):
        main["nodes"][name]["wipe_serials"] = ["DISK-0001"]
    assert f"already at {P}.nodes.pacs1" in problems(hospital)[f"{P}.nodes.pacs3.wipe_serials"]


@pytest.mark.parametrize("serial", [123456, "", "two words", "a'b"])
def test_serial_number_is_text(hospital: Data, main: Data, problems: Problems, serial: object) -> None:
    main["nodes"]["pacs1"]["wipe_serials"] = [serial]
    assert f"{P}.nodes.pacs1.wipe_serials.0" in problems(hospital)


def test_node_without_a_das_has_no_disks_for_it(hospital: Data, main: Data, problems: Problems) -> None:
    main["pools"] = {group: list(main["nodes"]) for group in GROUPS} | {"pacs": ["pacs1", "pacs2"]}
    main["nodes"]["pacs3"]["wipe_serials"] = ["DISK-0005"]
    found = problems(hospital)
    assert "has no DAS" in found[f"{P}.nodes.pacs3.das_devices"]
    assert "has no DAS" in found[f"{P}.nodes.pacs3.wipe_serials"]
    del main["nodes"]["pacs3"]["das_devices"], main["nodes"]["pacs3"]["wipe_serials"]
    assert problems(hospital) == {}


def test_gateway_of_existing_machines_is_optional(hospital: Data, main: Data, problems: Problems) -> None:
    del main["networks"]["gateway"]
    assert problems(hospital) == {}


def test_management_address_is_unique(hospital: Data, main: Data, problems: Problems) -> None:
    main["nodes"]["pacs2"]["management_address"] = "198.51.100.14"
    assert set(problems(hospital)) == {"sites.second.nodes.dr1.management_address"}


def test_management_address_is_outside_the_cluster_network(hospital: Data, main: Data, problems: Problems) -> None:
    main["nodes"]["pacs2"]["management_address"] = "192.0.2.50"
    assert "inside the cluster network 192.0.2.0/25" in problems(hospital)[f"{P}.nodes.pacs2.management_address"]
    main["nodes"]["pacs2"]["management_address"] = main["nodes"]["pacs2"]["address"]
    assert problems(hospital) == {}


def test_root_is_refused_as_the_user(hospital: Data, problems: Problems) -> None:
    hospital["target"]["ssh_user"] = "root"
    assert "refuse root by SSH" in problems(hospital)["target.ssh_user"]
