"""Each check over several fields: once the sound neighbour of a mistake, once the mistake."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hapacs.settings import GROUPS
from hapacs.settings.checks import INNER_PORTS, can_hold

P = "sites.primary"


def node(number: int, zone: str) -> dict[str, str]:
    return {"zone": zone, "address": f"10.89.77.{10 + number}"}


def set_nodes(primary: dict[str, Any], *zones: str) -> None:
    primary["nodes"] = {f"pacs{number}": node(number, zone) for number, zone in enumerate(zones, 1)}


def test_lab_is_sound(data: dict[str, Any], problems: Callable[[Any], dict[str, str]]) -> None:
    assert problems(data) == {}


def test_second_site_of_one_node_is_sound(with_dr: dict[str, Any], problems: Callable[[Any], dict[str, str]]) -> None:
    assert problems(with_dr) == {}


def test_all_problems_are_reported_at_once(with_dr: dict[str, Any], problems: Callable[[Any], dict[str, str]]) -> None:
    primary, dr = with_dr["sites"]["primary"], with_dr["sites"]["dr"]
    primary["nodes"]["pacs4"] = node(4, "rack1")
    primary["vip"]["address"] = "192.0.2.1"
    primary["policy"] |= {"cas_replication": "020", "das_minimum_free_bytes": "4GiB"}
    dr["networks"]["cluster"] = "10.89.0.0/16"
    dr["dicom"]["store_ae"] = "HAPACS"
    assert set(problems(with_dr)) == {
        f"{P}.nodes",
        f"{P}.vip.address",
        f"{P}.policy.cas_replication",
        f"{P}.disks.das",
        "sites.dr.networks.cluster",
        "sites.dr.dicom.store_ae",
    }


@pytest.mark.parametrize("zones", ["abc", "abcab", "abcabca"])
def test_compact_site_with_a_quorum_is_sound(
    data: dict[str, Any], problems: Callable[[Any], dict[str, str]], zones: str
) -> None:
    set_nodes(data["sites"]["primary"], *zones)
    assert problems(data) == {}


@pytest.mark.parametrize(
    ("zones", "said"),
    [
        ("abca", "even number"),
        ("a", "a compact primary site needs 3"),
        ("aab", "2 of 3 etcd members stand in zone a"),
    ],
)
def test_compact_site_without_a_quorum(
    data: dict[str, Any], problems: Callable[[Any], dict[str, str]], zones: str, said: str
) -> None:
    set_nodes(data["sites"]["primary"], *zones)
    assert said in problems(data)[f"{P}.nodes"]


def test_site_that_need_not_survive_a_node_may_have_a_single_one(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]]
) -> None:
    set_nodes(primary, "a")
    primary["policy"]["cas_replication"] = "000"
    refused = problems(data)
    assert f"{P}.policy.tolerated_node_failures: 0" in refused.pop(f"{P}.nodes")
    assert set(refused) == {f"{P}.policy.cas_replication"}
    primary["policy"]["tolerated_node_failures"] = 0
    assert problems(data) == {}


def split(primary: dict[str, Any], **changes: list[str]) -> None:
    set_nodes(primary, "a", "b", "c", "a", "b", "c")
    primary["pools"] = {group: ["pacs1", "pacs2", "pacs3"] for group in GROUPS}
    primary["pools"]["pacs"] = ["pacs4", "pacs5", "pacs6"]
    primary["pools"] |= changes


def test_split_pools_are_sound(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]]
) -> None:
    split(primary)
    assert problems(data) == {}


@pytest.mark.parametrize(
    ("group", "members", "said"),
    [
        ("etcd", ["pacs1", "pacs2", "pacs3", "pacs4"], "even number"),
        ("postgres", ["pacs1", "pacs2"], "name at least 3"),
        ("load_balancer", ["pacs1"], "name at least 2"),
        ("monitoring", [], "the group has no node"),
        ("cas", ["pacs1", "pacs2", "ghost"], "unknown node ghost"),
        ("cas", ["pacs1", "pacs2", "pacs3", "pacs1"], "named 2 times"),
    ],
)
def test_pool_mistakes_name_the_pool(
    data: dict[str, Any], problems: Callable[[Any], dict[str, str]], group: str, members: Any, said: str
) -> None:
    split(data["sites"]["primary"], **{group: members})
    assert said in problems(data)[f"{P}.pools.{group}"]


def test_group_that_is_left_out_is_empty(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]]
) -> None:
    split(primary)
    del primary["pools"]["etcd"]
    assert problems(data) == {f"{P}.pools.etcd": "the group has no node; name at least one"}


def test_node_in_no_pool(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]]
) -> None:
    split(primary, pacs=["pacs4", "pacs5"])
    assert "in no pool" in problems(data)[f"{P}.nodes.pacs6"]


def test_node_named_like_a_group(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]]
) -> None:
    primary["nodes"]["etcd"] = primary["nodes"].pop("pacs1")
    assert "name of an Ansible group" in problems(data)[f"{P}.nodes.etcd"]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("10.89.77.200", None),
        ("10.89.78.10", "outside the cluster network"),
        ("10.89.77.0", "broadcast"),
        ("10.89.77.255", "broadcast"),
        ("10.89.77.1", "the gateway"),
        ("10.89.77.12", "the address of node pacs2"),
    ],
)
def test_virtual_address_is_a_free_one_of_its_network(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]], address: str, said: str
) -> None:
    primary["vip"]["address"] = address
    found = problems(data)
    if said is None:
        assert found == {}
    else:
        assert said in found[f"{P}.vip.address"]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("10.89.77.14", None),
        ("10.89.78.14", "outside the cluster network"),
        ("10.89.77.255", "broadcast"),
        ("10.89.77.1", "the gateway"),
        ("10.89.77.11", "already used by sites.primary.nodes.pacs1.address"),
    ],
)
def test_node_address_is_a_free_one_of_its_network(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]], address: str, said: str
) -> None:
    primary["nodes"]["pacs3"]["address"] = address
    found = problems(data)
    if said is None:
        assert found == {}
    else:
        assert said in found[f"{P}.nodes.pacs3.address"]


@pytest.mark.parametrize("gateway", ["10.89.78.1", "10.89.77.255"])
def test_gateway_is_in_its_network(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]], gateway: str
) -> None:
    primary["networks"]["gateway"] = gateway
    assert "no host address" in problems(data)[f"{P}.networks.gateway"]


@pytest.mark.parametrize("field", ["https_port", "dicom.port", "dicom.tls_port"])
@pytest.mark.parametrize("port", sorted(INNER_PORTS))
def test_port_of_an_inner_service_is_refused(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]], field: str, port: int
) -> None:
    holder = primary["dicom"] if field.startswith("dicom") else primary
    holder[field.rpartition(".")[2]] = port
    assert "own services" in problems(data)[f"{P}.{field}"]


def test_ports_of_the_virtual_address_differ(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]]
) -> None:
    primary["dicom"] |= {"port": 104, "tls_port": 104}
    assert problems(data) == {f"{P}.dicom.tls_port": "104 is already sites.primary.dicom.port; give another one"}


@pytest.mark.parametrize(
    ("replication", "zones", "said"),
    [
        ("010", "abc", None),
        ("001", "abcab", None),
        ("020", "abcde", None),
        ("020", "abc", "once a cas node is lost"),
        ("001", "abc", "the cas nodes stand in a: 1, b: 1, c: 1"),
        ("000", "abc", "a lost node loses images"),
        ("012", "abcab", "3 nodes in one of them"),
    ],
)
def test_replication_fits_the_zones(
    data: dict[str, Any], problems: Callable[[Any], dict[str, str]], replication: str, zones: str, said: str
) -> None:
    set_nodes(data["sites"]["primary"], *zones)
    data["sites"]["primary"]["policy"]["cas_replication"] = replication
    found = problems(data)
    if said is None:
        assert found == {}
    else:
        assert said in found[f"{P}.policy.cas_replication"]


def test_second_site_too_must_hold_its_replication(
    with_dr: dict[str, Any], problems: Callable[[Any], dict[str, str]]
) -> None:
    with_dr["sites"]["dr"]["policy"]["cas_replication"] = "010"
    assert "2 zones" in problems(with_dr)["sites.dr.policy.cas_replication"]


ZONES = st.lists(st.sampled_from("abcd"), max_size=8)
REPLICATION = st.from_regex(r"\A0[0-2][0-2]\Z")


@given(REPLICATION, ZONES, st.sampled_from("abcd"))
def test_one_more_node_never_breaks_replication(replication: str, zones: str, another: str) -> None:
    assert can_hold(replication, [*zones, another]) or not can_hold(replication, zones)


@given(REPLICATION, ZONES)
def test_replication_needs_at_least_as_many_nodes_as_copies(replication: str, zones: str) -> None:
    copies = 1 + int(replication[1]) + int(replication[2])
    assert len(zones) >= copies or not can_hold(replication, zones)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, None),
        ({"das_evict_above_fraction": 0.7, "das_evict_to_fraction": 0.6}, None),
        ({"das_evict_above_fraction": 0.9}, "das_evict_above_fraction"),
        ({"das_evict_above_fraction": 0.88}, "das_evict_above_fraction"),
        ({"das_minimum_free_bytes": "1GiB"}, "das_evict_above_fraction"),
        ({"das_evict_to_fraction": 0.85}, "das_evict_to_fraction"),
    ],
)
def test_room_is_made_before_images_are_refused(
    data: dict[str, Any],
    primary: dict[str, Any],
    problems: Callable[[Any], dict[str, str]],
    changes: dict[str, Any],
    field: str,
) -> None:
    # 4 GiB are usable and 512 MiB, an eighth, must stay free.
    primary["policy"] |= changes
    assert set(problems(data)) == ({f"{P}.policy.{field}"} if field else set())


@pytest.mark.parametrize(("free", "sound"), [("512MiB", True), ("4GiB", False), ("1TiB", False)])
def test_das_is_larger_than_the_watermark(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]], free: str, sound: bool
) -> None:
    # Two disks of 4 GiB, everything twice: 4 GiB are usable.
    primary["policy"]["das_minimum_free_bytes"] = free
    found = problems(data)
    assert found == {} if sound else "must stay free" in found[f"{P}.disks.das"]


@pytest.mark.parametrize(
    ("roles", "sound"),
    [(("primary", "dr"), True), (("primary", "primary"), False), (("dr", "dr"), False)],
)
def test_exactly_one_site_is_primary(
    with_dr: dict[str, Any], problems: Callable[[Any], dict[str, str]], roles: tuple[str, ...], sound: bool
) -> None:
    for site, role in zip(with_dr["sites"].values(), roles, strict=True):
        site["role"] = role
    assert ("sites" not in problems(with_dr)) is sound


@pytest.mark.parametrize("network", ["10.89.77.0/24", "10.89.77.128/25", "10.89.0.0/16"])
def test_networks_of_sites_do_not_overlap(
    with_dr: dict[str, Any], problems: Callable[[Any], dict[str, str]], network: str
) -> None:
    with_dr["sites"]["dr"]["networks"]["cluster"] = network
    assert "overlaps 10.89.77.0/24 of sites.primary" in problems(with_dr)["sites.dr.networks.cluster"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda dr: dr["vip"].update(router_id=77), "sites.dr.vip.router_id"),
        (lambda dr: dr["dicom"].update(store_ae="HAPACS"), "sites.dr.dicom.store_ae"),
        (lambda dr: dr["dicom"].update(query_ae="HAPACS_DR"), "sites.dr.dicom.query_ae"),
        (lambda dr: dr["dicom"].update(query_ae="WORKSTATION"), "callers.1.ae_title"),
        (lambda dr: dr["dicom"].update(query_ae="HAPACS_VERIFY"), "verify.ae_title"),
        (lambda dr: dr["vip"].update(address="10.89.77.10"), "sites.dr.vip.address"),
        (lambda dr: dr["nodes"]["dr1"].update(zone="rack2"), "sites.dr.nodes.dr1.zone"),
        (lambda dr: dr["nodes"]["dr1"].update(address="10.89.77.13"), "sites.dr.nodes.dr1.address"),
        (lambda dr: dr["nodes"].update(pacs2=dr["nodes"].pop("dr1")), "sites.dr.nodes.pacs2"),
    ],
)
def test_what_names_a_thing_names_it_once(
    with_dr: dict[str, Any],
    problems: Callable[[Any], dict[str, str]],
    change: Callable[[dict[str, Any]], object],
    field: str,
) -> None:
    change(with_dr["sites"]["dr"])
    assert "already used by" in problems(with_dr)[field] or "outside" in problems(with_dr)[field]


def test_caller_outside_the_client_networks(data: dict[str, Any], problems: Callable[[Any], dict[str, str]]) -> None:
    data["callers"][0]["networks"].append("192.0.2.0/24")
    assert "192.0.2.0/24 is in no site's networks.clients" in problems(data)["callers.0.networks"]


def test_move_destination_is_a_host_and_a_port(data: dict[str, Any], problems: Callable[[Any], dict[str, str]]) -> None:
    del data["callers"][1]["port"]
    assert "go together" in problems(data)["callers.1"]


def test_operation_named_twice(data: dict[str, Any], problems: Callable[[Any], dict[str, str]]) -> None:
    data["callers"][0]["may"] = ["echo", "store", "echo"]
    assert "echo is named 2 times" in problems(data)["callers.0.may"]


@pytest.mark.parametrize("field", ["management", "clients"])
def test_verify_is_let_in_everywhere(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]], field: str
) -> None:
    primary["networks"][field] = ["10.89.77.2/32"]
    data["callers"] = []
    assert f"outside sites.primary.networks.{field}" in problems(data)["verify.host"]


@pytest.mark.parametrize("field", ["management", "clients"])
def test_the_controller_is_let_in_by_the_address_that_a_site_sees(
    with_dr: dict[str, Any], problems: Callable[[Any], dict[str, str]], field: str
) -> None:
    with_dr["callers"] = []
    with_dr["sites"]["dr"]["networks"][field] = ["10.89.77.1/32"]
    assert f"10.89.76.1 is outside sites.dr.networks.{field}" in problems(with_dr)["sites.dr.networks.controller"]


def test_lab_needs_its_gateway(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]]
) -> None:
    del primary["networks"]["gateway"]
    assert "gateway" in problems(data)[f"{P}.networks.gateway"]


def test_lab_makes_its_own_disks(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]]
) -> None:
    primary["nodes"]["pacs1"]["das_devices"] = ["/dev/sdb", "/dev/sdc"]
    assert "remove devices" in problems(data)[f"{P}.nodes.pacs1.das_devices"]


def test_lab_has_one_network(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]]
) -> None:
    primary["nodes"]["pacs1"]["management_address"] = "10.89.77.50"
    assert "one network" in problems(data)[f"{P}.nodes.pacs1.management_address"]


@pytest.mark.parametrize(
    ("devices", "sound"),
    [(["/dev/sdb", "/dev/sdc"], True), (["/dev/sdb"], False), (["/dev/sdb", "/dev/sdb"], False)],
)
def test_existing_machine_names_each_disk(
    data: dict[str, Any],
    primary: dict[str, Any],
    problems: Callable[[Any], dict[str, str]],
    devices: list[str],
    sound: bool,
) -> None:
    data["target"] = {"kind": "static"}
    for spec in primary["nodes"].values():
        spec["das_devices"] = ["/dev/sdb", "/dev/sdc"]
    primary["nodes"]["pacs2"]["das_devices"] = devices
    found = problems(data)
    assert found == {} if sound else "different devices" in found[f"{P}.nodes.pacs2.das_devices"]


def test_gateway_of_existing_machines_may_stay_unsaid(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]]
) -> None:
    data["target"] = {"kind": "static"}
    del primary["networks"]["gateway"]
    for spec in primary["nodes"].values():
        spec["das_devices"] = ["/dev/sdb", "/dev/sdc"]
    assert problems(data) == {}


def test_management_address_is_unique(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]]
) -> None:
    data["target"] = {"kind": "static"}
    for spec in primary["nodes"].values():
        spec |= {"das_devices": ["/dev/sdb", "/dev/sdc"], "management_address": "192.0.2.5"}
    assert set(problems(data)) == {f"{P}.nodes.pacs{number}.management_address" for number in (2, 3)}


def test_machine_without_images_has_no_disks_for_them(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]]
) -> None:
    data["target"] = {"kind": "static"}
    for spec in primary["nodes"].values():
        spec["das_devices"] = ["/dev/sdb", "/dev/sdc"]
    primary["pools"] = {group: list(primary["nodes"]) for group in GROUPS} | {"pacs": ["pacs1", "pacs2"]}
    assert "has no DAS" in problems(data)[f"{P}.nodes.pacs3.das_devices"]
    del primary["nodes"]["pacs3"]["das_devices"]
    assert problems(data) == {}


def test_nodes_are_not_entered_as_root(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]]
) -> None:
    data["target"] = {"kind": "static", "ssh_user": "root"}
    for spec in primary["nodes"].values():
        spec["das_devices"] = ["/dev/sdb", "/dev/sdc"]
    assert "don't let root in" in problems(data)["target.ssh_user"]


@pytest.mark.parametrize("serial", [123456, "", "two words", "a'b"])
def test_a_serial_number_is_text(
    data: dict[str, Any], primary: dict[str, Any], problems: Callable[[Any], dict[str, str]], serial: object
) -> None:
    data["target"] = {"kind": "static"}
    primary["nodes"]["pacs1"]["wipe_serials"] = [serial]
    assert f"{P}.nodes.pacs1.wipe_serials.0" in problems(data)
