"""What a plan of machines that exist says about data."""

from typing import Any

import pytest

from hapacs.targets.static.data import consequences
from hapacs.targets.static.judge import DAS_LABEL, Answer, Disk, Machine, Wanted

OLD, NEW = ("/dev/disk/by-id/a", "/dev/disk/by-id/b"), ("/dev/disk/by-id/c", "/dev/disk/by-id/d")
BLANK = Disk(there=True, block=True, path="/dev/sda")
OURS = BLANK.model_copy(update={"content": "btrfs", "label": DAS_LABEL})
USED = BLANK.model_copy(update={"content": "ext4", "label": "scans", "serial": "WD-1"})


def before(*devices: str) -> dict[str, Any]:
    return {"sites": {"primary": {"nodes": {"pacs1": {"das_devices": list(devices)}}}}}


def asked(devices: tuple[str, ...], *disks: Disk) -> dict[Wanted, Answer]:
    machine = Machine(
        system="debian", version="13", architecture="x86_64", memory_bytes=1 << 34, machine_id="x", addresses=(),
        time=0, disks=dict(zip(devices, disks, strict=True)),
    )  # fmt: skip
    return {Wanted("pacs1", "sites.primary.nodes.pacs1", "192.0.2.1", "192.0.2.1", ("pacs",), devices): Answer(machine)}


def test_replaced_disks_that_are_blank_get_a_new_store_and_the_old_ones_are_kept() -> None:
    (said,) = consequences(asked(NEW, BLANK, BLANK), before(*OLD))
    assert said.startswith("pacs1: a new, empty online store is made on /dev/disk/by-id/c, /dev/disk/by-id/d.")
    assert "Online copies on /dev/disk/by-id/a, /dev/disk/by-id/b are not erased" in said


def test_disks_of_the_store_under_other_names_keep_their_copies() -> None:
    (said,) = consequences(asked(NEW, OURS, OURS), before(*OLD))
    assert said == "pacs1: the disks that the settings name belong to the online store already; online copies stay."


def test_disk_that_may_be_wiped_is_named_with_what_it_holds() -> None:
    (said,) = consequences(asked(NEW, USED, BLANK), None)
    assert said.startswith("pacs1: /dev/disk/by-id/c is emptied (ext4 scans), because wipe_serials permits it")


@pytest.mark.parametrize("last", [None, before(*OLD)])
def test_unchanged_store_has_no_consequences(last: dict[str, Any] | None) -> None:
    assert consequences(asked(OLD, OURS, OURS), last) == []


def test_removed_node_keeps_its_machine_and_its_data() -> None:
    last = before(*OLD)
    last["sites"]["primary"]["nodes"]["pacs2"] = {"das_devices": list(NEW)}
    (said,) = consequences(asked(OLD, OURS, OURS), last)
    assert said.startswith("pacs2: the machine is not touched. Its services go on")
