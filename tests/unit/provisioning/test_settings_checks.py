"""Checks over several fields: each once with sound settings close to a mistake, and once with the mistake."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hapacs.services.model import GROUPS
from hapacs.settings.checks import can_hold
from tests.unit.provisioning.conftest import Data, Problems

P = "sites.primary"


def node(number: int, zone: str) -> dict[str, str]:
    return {"zone": zone, "address": f"10.89.77.{10 + number}"}


def set_nodes(primary: Data, *zones: str) -> None:
    primary["nodes"] = {f"pacs{number}": node(number, zone) for number, zone in enumerate(zones, 1)}


def test_lab_is_sound(data: Data, problems: Problems) -> None:
    assert problems(data) == {}


def test_second_site_of_one_node_is_sound(with_dr: Data, problems: Problems) -> None:
    assert problems(with_dr) == {}


def test_all_problems_are_reported_at_once(with_dr: Data, problems: Problems) -> None:
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
def test_compact_site_with_a_quorum_is_sound(data: Data, problems: Problems, zones: str) -> None:
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
def test_compact_site_without_a_quorum(data: Data, problems: Problems, zones: str, said: str) -> None:
    set_nodes(data["sites"]["primary"], *zones)
    assert said in problems(data)[f"{P}.nodes"]


def test_site_that_need_not_survive_a_node_may_have_a_single_one(data: Data, primary: Data, problems: Problems) -> None:
    set_nodes(primary, "a")
    primary["policy"]["cas_replication"] = "000"
    refused = problems(data)
    assert f"{P}.policy.tolerated_node_failures: 0" in refused.pop(f"{P}.nodes")
    assert set(refused) == {f"{P}.policy.cas_replication"}
    primary["policy"]["tolerated_node_failures"] = 0
    assert problems(data) == {}


def split(primary: Data, **changes: list[str]) -> None:
    set_nodes(primary, "a", "b", "c", "a", "b", "c")
    primary["pools"] = {group: ["pacs1", "pacs2", "pacs3"] for group in GROUPS}
    primary["pools"]["pacs"] = ["pacs4", "pacs5", "pacs6"]
    primary["pools"] |= changes


def test_split_pools_are_sound(data: Data, primary: Data, problems: Problems) -> None:
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
def test_pool_mistakes_name_the_pool(data: Data, problems: Problems, group: str, members: Any, said: str) -> None:
    split(data["sites"]["primary"], **{group: members})
    assert said in problems(data)[f"{P}.pools.{group}"]


def test_group_that_is_left_out_is_empty(data: Data, primary: Data, problems: Problems) -> None:
    split(primary)
    del primary["pools"]["etcd"]
    assert problems(data) == {f"{P}.pools.etcd": "the group has no node; name at least one"}


def test_node_in_no_pool(data: Data, primary: Data, problems: Problems) -> None:
    split(primary, pacs=["pacs4", "pacs5"])
    assert "in no pool" in problems(data)[f"{P}.nodes.pacs6"]


@pytest.mark.parametrize("name", ["etcd", "all", "installed"])
def test_node_named_like_a_group(data: Data, primary: Data, problems: Problems, name: str) -> None:
    primary["nodes"][name] = primary["nodes"].pop("pacs1")
    assert "name of an Ansible group" in problems(data)[f"{P}.nodes.{name}"]


def test_one_virtual_address_has_at_most_twenty_balancers(data: Data, primary: Data, problems: Problems) -> None:
    set_nodes(primary, *("abc" * 7))
    assert f"name at most 20 in {P}.pools.load_balancer" in problems(data)[f"{P}.nodes"]


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
    data: Data, primary: Data, problems: Problems, address: str, said: str
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
    data: Data, primary: Data, problems: Problems, address: str, said: str
) -> None:
    primary["nodes"]["pacs3"]["address"] = address
    found = problems(data)
    if said is None:
        assert found == {}
    else:
        assert said in found[f"{P}.nodes.pacs3.address"]


@pytest.mark.parametrize(
    ("network", "room"),
    [("10.89.77.8/29", True), ("10.89.77.10/32", False), ("10.89.77.10/31", False), ("10.89.77.8/30", False)],
)
def test_cluster_network_has_room_for_the_site(
    data: Data, primary: Data, problems: Problems, network: str, room: bool
) -> None:
    primary["networks"] |= {"cluster": network, "gateway": "10.89.77.9"}
    found = problems(data)
    if room:
        assert found == {}
    else:
        assert found == {
            f"{P}.networks.cluster": f"{network} has too few addresses for 3 nodes and the virtual address; "
            "check the mask"
        }


@pytest.mark.parametrize("gateway", ["10.89.78.1", "10.89.77.255"])
def test_gateway_is_in_its_network(data: Data, primary: Data, problems: Problems, gateway: str) -> None:
    primary["networks"]["gateway"] = gateway
    assert "no host address" in problems(data)[f"{P}.networks.gateway"]


@pytest.mark.parametrize("field", ["https_port", "dicom.port", "dicom.tls_port"])
# SSH, the database, the archive's gateway, a port that Orthanc binds at every address, one of 127.0.0.1 only.
@pytest.mark.parametrize("port", [22, 5432, 8333, 18042, 9324])
def test_port_of_an_inner_service_is_refused(
    data: Data, primary: Data, problems: Problems, field: str, port: int
) -> None:
    holder = primary["dicom"] if field.startswith("dicom") else primary
    holder[field.rpartition(".")[2]] = port
    assert "own services" in problems(data)[f"{P}.{field}"]


def test_ports_of_the_virtual_address_differ(data: Data, primary: Data, problems: Problems) -> None:
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
def test_replication_fits_the_zones(data: Data, problems: Problems, replication: str, zones: str, said: str) -> None:
    set_nodes(data["sites"]["primary"], *zones)
    data["sites"]["primary"]["policy"]["cas_replication"] = replication
    found = problems(data)
    if said is None:
        assert found == {}
    else:
        assert said in found[f"{P}.policy.cas_replication"]


def test_second_site_too_must_hold_its_replication(with_dr: Data, problems: Problems) -> None:
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
    data: Data,
    primary: Data,
    problems: Problems,
    changes: Data,
    field: str,
) -> None:
    # 4 GiB are usable and 512 MiB, an eighth, must stay free.
    primary["policy"] |= changes
    assert set(problems(data)) == ({f"{P}.policy.{field}"} if field else set())


@pytest.mark.parametrize(("free", "sound"), [("512MiB", True), ("4GiB", False), ("1TiB", False)])
def test_das_is_larger_than_the_watermark(
    data: Data, primary: Data, problems: Problems, free: str, sound: bool
) -> None:
    # Two disks of 4 GiB, everything twice: 4 GiB are usable.
    primary["policy"]["das_minimum_free_bytes"] = free
    found = problems(data)
    assert found == {} if sound else "must stay free" in found[f"{P}.disks.das"]


@pytest.mark.parametrize(
    ("roles", "sound"),
    [(("primary", "dr"), True), (("primary", "primary"), False), (("dr", "dr"), False)],
)
def test_exactly_one_site_is_primary(with_dr: Data, problems: Problems, roles: tuple[str, str], sound: bool) -> None:
    for site, role in zip(with_dr["sites"].values(), roles, strict=True):
        site["role"] = role
    assert ("sites" not in problems(with_dr)) is sound


@pytest.mark.parametrize("network", ["10.89.77.0/24", "10.89.77.128/25", "10.89.0.0/16"])
def test_networks_of_sites_do_not_overlap(with_dr: Data, problems: Problems, network: str) -> None:
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
    with_dr: Data,
    problems: Problems,
    change: Callable[[Data], object],
    field: str,
) -> None:
    change(with_dr["sites"]["dr"])
    assert "already used by" in problems(with_dr)[field] or "outside" in problems(with_dr)[field]


def test_lab_needs_its_gateway(data: Data, primary: Data, problems: Problems) -> None:
    del primary["networks"]["gateway"]
    assert "the target makes the network" in problems(data)[f"{P}.networks.gateway"]


def test_lab_makes_its_own_disks(data: Data, primary: Data, problems: Problems) -> None:
    primary["nodes"]["pacs1"]["das_devices"] = ["/dev/disk/by-id/a", "/dev/disk/by-id/b"]
    assert "remove devices" in problems(data)[f"{P}.nodes.pacs1.das_devices"]


def test_lab_has_one_network(data: Data, primary: Data, problems: Problems) -> None:
    primary["nodes"]["pacs1"]["management_address"] = "10.89.77.50"
    assert "one network" in problems(data)[f"{P}.nodes.pacs1.management_address"]


@pytest.mark.parametrize(("gb", "sound"), [(864, True), (865, False)])
def test_a_budget_of_the_scrub_that_can_not_be_read_in_a_day(
    data: Data, primary: Data, problems: Problems, gb: int, sound: bool
) -> None:
    primary["policy"]["integrity"] = {"scrub_gb_per_day": gb, "scrub_mb_per_s": 10}
    found = problems(data)
    assert set(found) == (set() if sound else {f"{P}.policy.integrity.scrub_gb_per_day"})
    if not sound:
        assert "at most 864 GB" in found[f"{P}.policy.integrity.scrub_gb_per_day"]


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("pacs2", "pacs2 belongs to this site and would be lost with it; name a node of another site"),
        ("elsewhere", "unknown node elsewhere; name a database node of another site"),
    ],
)
def test_backups_go_to_a_node_of_another_site(with_dr: Data, problems: Problems, host: str, said: str) -> None:
    with_dr["sites"]["primary"]["backup"] = {"host": host}
    assert problems(with_dr) == {"sites.primary.backup.host": said}


def test_backups_at_the_second_site_are_sound(with_dr: Data, problems: Problems) -> None:
    with_dr["sites"]["primary"]["backup"] = {"host": next(iter(with_dr["sites"]["dr"]["nodes"]))}
    assert problems(with_dr) == {}
