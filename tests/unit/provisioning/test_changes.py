"""Differences between two contracts: one change of each kind is found, and people can read it."""

from collections.abc import Callable
from typing import Any

import pytest

from hapacs import changes, targets
from hapacs.changes import Change, Changes, compare, size
from hapacs.program import program
from hapacs.settings import parse
from tests.contract.pulumi_mocks import run_in

type Data = dict[str, Any]
type Edit = Callable[[Data, Data], object]

UPSTREAM = {
    "version": "1.12.11",
    "base_url": "https://example.org/",
    "files": [{"path": "Orthanc", "sha256": "a" * 64}],
}
CALLER = {"ae_title": "CT7", "networks": ["10.89.77.50/32"], "may": ["echo", "store"]}
POOLS = {group: ["pacs1", "pacs2", "pacs3"] for group in ("etcd", "postgres", "cas", "load_balancer", "monitoring")}


@pytest.fixture
def machines(data: Data, monkeypatch: pytest.MonkeyPatch) -> Data:
    """Settings of machines that exist, which answer that all is well."""
    monkeypatch.setattr("hapacs.targets.static.ask_all", lambda *_: {})
    data["target"] = {"kind": "static"}
    for name, node in data["sites"]["primary"]["nodes"].items():
        node["das_devices"] = [f"/dev/disk/by-id/{name}-a", f"/dev/disk/by-id/{name}-b"]
    return data


def exported(data: Data, state: Any) -> Data:
    settings = parse(data)
    contracts: list[Data] = []
    # Taken from the program itself: the wire shuffles the keys.
    run_in("lab", lambda: program(settings, targets.create(settings, state), contracts.append))
    return contracts[-1]


def add_site(data: Data, primary: Data) -> None:
    node = {"zone": "far", "address": "10.89.76.11", "das_devices": ["/dev/disk/by-id/x", "/dev/disk/by-id/y"]}
    networks = {
        "cluster": "10.89.76.0/24",
        "management": ["10.89.77.1/32"],
        "clients": ["10.89.76.0/24", "10.89.77.1/32"],
    }
    data["sites"]["dr"] = primary | {
        "role": "dr",
        "networks": networks,
        "vip": {"address": "10.89.76.10", "router_id": 76},
        "nodes": {"dr1": node},
        "dicom": {"store_ae": "DR", "query_ae": "DR_QR"},
        "worklist": {"ae_title": "DR_WL", "users": ["ris"]},
        "policy": primary["policy"] | {"cas_replication": "000"},
    }


def add_node(_: Data, primary: Data) -> None:
    devices = ["/dev/disk/by-id/pacs4-a", "/dev/disk/by-id/pacs4-b"]
    primary["nodes"]["pacs4"] = {"zone": "rack1", "address": "10.89.77.14", "das_devices": devices}
    primary["pools"] = POOLS | {"pacs": ["pacs1", "pacs2", "pacs3", "pacs4"]}


def more_disks(_: Data, primary: Data) -> None:
    primary["disks"]["das"]["count"] = 3
    for name, node in primary["nodes"].items():
        node["das_devices"].append(f"/dev/disk/by-id/{name}-c")


def replace_disk(_: Data, primary: Data) -> None:
    primary["nodes"]["pacs1"]["das_devices"][1] = "/dev/disk/by-id/new"


ADDED = (
    "address 10.89.77.14, management_address 10.89.77.14, ssh_user hapacs, ssh_port 22, "
    "das_devices /dev/disk/by-id/pacs4-a//dev/disk/by-id/pacs4-b, data_directory /srv/data"
)
ORTHANC = f"added: version 1.12.11, base_url https://example.org/, files Orthanc sha256 {'a' * 64}"
KINDS: dict[str, tuple[Edit, list[tuple[str, str]]]] = {
    "caller": (
        lambda data, _: data["callers"].append(CALLER),
        [("callers.CT7", "added: networks 10.89.77.50/32, may echo/store")],
    ),
    "caller removed": (
        lambda data, _: data["callers"].pop(0),
        [("callers.MODALITY", "removed (was networks 10.89.77.1/32, may echo/store)")],
    ),
    "caller's permission": (
        lambda data, _: data["callers"][0]["may"].append("find"),
        [("callers.MODALITY.may", "+ find")],
    ),
    "watermark": (
        lambda _, site: site["policy"].update(das_watermark_fraction=0.87),
        [
            ("policy.das_watermark_fraction", "0.9 -> 0.87"),
            ("policy.das_minimum_free_bytes", "512 MiB -> 532.5 MiB"),
        ],
    ),
    "retention": (lambda _, site: site["policy"].update(retention_days=4000), [("policy.retention_days", "1 -> 4000")]),
    "pool": (
        lambda _, site: site.update(
            pools=POOLS | {"pacs": ["pacs1", "pacs2", "pacs3"], "monitoring": ["pacs1", "pacs2"]}
        ),
        [
            ("members of monitoring", "- pacs3"),
        ],
    ),
    "zone": (lambda _, site: site["nodes"]["pacs2"].update(zone="rack9"), [("nodes.pacs2.zone", "rack2 -> rack9")]),
    "virtual address": (
        lambda _, site: site["vip"].update(address="10.89.77.20"),
        [
            ("vip.address", "10.89.77.10 -> 10.89.77.20"),
            ("callers.HAPACS_PROBE.networks", "+ 10.89.77.20/32  - 10.89.77.10/32"),
        ],
    ),
    "AE title": (lambda _, site: site["dicom"].update(store_ae="OTHER"), [("dicom.store_ae", "HAPACS -> OTHER")]),
    "port": (lambda _, site: site.update(https_port=8443), [("https_port", "443 -> 8443")]),
    "disk size": (
        lambda _, site: site["disks"]["das"].update(size_bytes="8GiB"),
        [
            ("policy.das_minimum_free_bytes", "512 MiB -> 819.2 MiB"),
            ("policy.das_evict_below_bytes", "614.4 MiB -> 1.2 GiB"),
            ("policy.das_evict_until_bytes", "819.2 MiB -> 1.6 GiB"),
        ],
    ),
    "disk count": (
        more_disks,
        [
            ("policy.das_minimum_free_bytes", "512 MiB -> 614.4 MiB"),
            ("nodes.pacs3.das_devices", "+ /dev/disk/by-id/pacs3-c"),
        ],
    ),
    "replaced disk": (replace_disk, [("nodes.pacs1.das_devices", "+ /dev/disk/by-id/new  - /dev/disk/by-id/pacs1-b")]),
    "wipe_serials": (
        lambda _, site: site["nodes"]["pacs1"].update(wipe_serials=["WD-1"]),
        [("nodes.pacs1.das_wipe_serials", "+ WD-1")],
    ),
    "node added": (
        add_node,
        [
            ("members of pacs", "+ pacs4"),
            ("nodes.pacs4", f"added: zone rack1, {ADDED}"),
        ],
    ),
    "client network": (
        lambda _, site: site["networks"]["clients"].append("10.0.0.0/16"),
        [("client_networks", "+ 10.0.0.0/16")],
    ),
    "management network": (
        lambda _, site: site["networks"]["management"].append("10.0.0.0/16"),
        [("management_networks", "+ 10.0.0.0/16")],
    ),
    "SSH user": (
        lambda data, _: data["target"].update(ssh_user="operator"),
        [("nodes.pacs1.ssh_user", "hapacs -> operator")],
    ),
    "upstream Orthanc": (
        lambda _, site: site["policy"].update(orthanc_upstream=UPSTREAM),
        [
            ("policy.orthanc_source", "backport -> upstream"),
            ("policy.orthanc_upstream", ORTHANC),
        ],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_change_of_each_kind_is_shown(machines: Data, tmp_path: Any, kind: str) -> None:
    before = exported(machines, tmp_path)
    edit, wanted = KINDS[kind]
    edit(machines, machines["sites"]["primary"])
    rows = changes.rows(compare(before, exported(machines, tmp_path)))
    assert {("primary", *row) for row in wanted} <= set(rows)
    if kind not in {"disk count", "SSH user"}:  # these change every node
        assert len(rows) == len(wanted)


def test_removed_node_is_shown_with_its_groups_in_one_row(machines: Data, tmp_path: Any) -> None:
    add_node(machines, machines["sites"]["primary"])
    before = exported(machines, tmp_path)
    machines["sites"]["primary"]["nodes"].pop("pacs4")
    machines["sites"]["primary"].pop("pools")
    rows = changes.rows(compare(before, exported(machines, tmp_path)))
    assert ("primary", "members of pacs", "- pacs4") in rows
    assert any(setting == "nodes.pacs4" and text.startswith("removed (was zone rack1") for _, setting, text in rows)


def test_added_site_is_one_row_with_its_nodes(machines: Data, tmp_path: Any) -> None:
    before = exported(machines, tmp_path)
    add_site(machines, machines["sites"]["primary"])
    (row,) = [row for row in changes.rows(compare(before, exported(machines, tmp_path))) if row[1] == "site"]
    assert row[0] == "dr"
    assert row[2].startswith("added: role dr")
    assert "nodes dr1" in row[2]


def test_equal_contracts_differ_in_nothing(machines: Data, tmp_path: Any) -> None:
    assert compare(exported(machines, tmp_path), exported(machines, tmp_path)) == []


def test_the_same_change_at_two_sites_is_one_row() -> None:
    before = {"sites": {name: {"callers": [], "members": {"etcd": ["a"], "cas": ["a"]}} for name in ("one", "two")}}
    after = {
        "sites": {name: {"callers": [CALLER], "members": {"etcd": ["b"], "cas": ["b"]}} for name in ("one", "two")}
    }
    assert changes.rows(compare(before, after)) == [
        ("one, two", "callers.CT7", "added: networks 10.89.77.50/32, may echo/store"),
        ("one, two", "members of etcd, cas", "+ b  - a"),
    ]


def test_order_of_members_counts() -> None:
    (change,) = compare({"members": ["a", "b"]}, {"members": ["b", "a"]})
    assert change.difference == "a, b -> b, a"


def test_nodes_whose_machines_change_cannot_be_asked() -> None:
    contract: Data = {"sites": {"one": {"nodes": {"a": {}, "b": {}}}, "two": {"nodes": {"c": {}}}}}
    machines = [
        Change("create", "LabNode", "c"),
        Change("update", "LabDisk", "a-disk0"),
        Change("delete", "LabNode", "z"),
    ]
    assert Changes(contract, machines).unreachable == ["c"]


def test_values_that_only_up_will_know_are_named_without_a_value() -> None:
    change = Change(
        "update",
        "LabNode",
        "a",
        ("devices", "size_bytes"),
        {"devices": (["x"], None), "size_bytes": (1 << 30, 1 << 31)},
    )
    assert change.difference == "devices; size_bytes: 1 GiB -> 2 GiB"


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (4 << 30, "4 GiB"), (1 << 50, "1024 TiB")])
def test_sizes_have_the_unit_that_fits(count: int, text: str) -> None:
    assert size(count) == text
