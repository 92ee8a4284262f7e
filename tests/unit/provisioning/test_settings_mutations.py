"""Mutated settings: none crashes, refusals name a field in plain words, and none that breaks a site is accepted."""

import copy
import re
from collections import Counter
from collections.abc import Hashable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from hapacs import ae_titles
from hapacs.services.model import GROUPS
from hapacs.services.network import inner_ports
from hapacs.settings import Problem, Settings, SettingsError, Site, parse, warnings
from tests.unit.provisioning.conftest import HOSPITAL, LAB, Data

type Place = tuple[str | int, ...]

EXAMPLES: list[Data] = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (LAB, HOSPITAL)]
JARGON = re.compile(r"Input should|instance of|pydantic|\bStr\b|dict|tuple|regex|pattern|\^|<class|UNSOUND|Error")


def places(value: Any, path: Place = ()) -> list[Place]:
    """Return the path of each value inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, part in inner for place in [(*path, key), *places(part, (*path, key))]]


def at(data: Any, path: Place) -> Any:
    for key in path:
        data = data[key]
    return data


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, 2, 22, 104, 443, 10**30, 10**400, -1]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        [
            "", " ", "10.89.77.11", "10.89.77.10", "192.0.2.11", "192.0.2.10", "192.0.2.0", "192.0.2.0/25",
            "10.0.0.0/8", "0.0.0.0/0", "127.0.0.1", "::1", "4GiB", "16TiB each", "1e400", "HAPROXY", "HAPACS",
            "MODALITY", "rack1", "pacs1", "etcd", "/dev/sdb", "/dev/disk/by-id/ata-DISK-0001", "primary", "dr", "lab",
            "static", "GOVERNANCE", "000", "011", "move", "store", "root",
        ]
    ),
    st.binary(max_size=4),
    st.lists(st.none() | st.integers() | st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5) | st.integers() | st.none(), st.integers(), max_size=2),
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> Data:
    """Draw an example with up to four changes: a value or key is removed, replaced, renamed, or copied to elsewhere."""
    data = copy.deepcopy(draw(st.sampled_from(EXAMPLES)))
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(places(data) or [("deployment",)]))
        holder: Any = at(data, path[:-1])
        key: Any = path[-1]
        kind = draw(st.sampled_from(["delete", "replace", "rename", "copy", "number", "twice"]))
        if kind == "delete":
            holder.pop(key, None) if isinstance(holder, dict) else holder.pop(key)
        elif kind == "replace":
            holder[key] = draw(VALUES)
        elif kind == "rename" and isinstance(holder, dict):
            value = holder.pop(key, None)
            holder[draw(st.text(max_size=8) | st.integers() | st.sampled_from([*map(str, path), f"{key}s"]))] = value
        elif kind == "copy":
            holder[key] = copy.deepcopy(at(data, draw(st.sampled_from(places(data)))))
        elif kind == "number" and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            holder[key] = draw(st.sampled_from([-1, 0.5, 2, 10])) * holder[key]
        elif kind == "twice" and isinstance(holder, list):
            holder.append(holder[key])
    return data


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_mutated_settings_are_refused_in_plain_words_or_work(data: Data) -> None:
    accepted, problems = outcome(data)
    event("refused" if accepted is None else "accepted")
    for problem in problems:
        assert problem.field, problem
        assert not JARGON.search(without_values(problem.message)), problem
    if accepted is not None:
        assert not problems
        for name, site in accepted.sites.items():
            works(accepted, name, site)
        unique(accepted)
        assert all(warning.field and warning.message for warning in warnings(accepted))


def outcome(data: Data) -> tuple[Settings | None, tuple[Problem, ...]]:
    """Return the settings, or why they are refused."""
    try:
        return parse(data), ()
    except SettingsError as error:
        return None, error.problems


def without_values(message: str) -> str:
    """Return a message without what it repeats from the file."""
    return re.sub(r"'.*'|\".*\"|did you mean .*", "", message)


def works(accepted: Settings, name: str, site: Site) -> None:
    """Assert what a site needs, written down again and independently of the checks."""
    cluster: IPv4Network = site.networks.cluster
    own = [site.vip.address, *(node.address for node in site.nodes.values())]
    hosts = set(cluster.hosts()) if cluster.prefixlen > 16 else None
    assert all(address in cluster and (hosts is None or address in hosts) for address in own)
    assert len(set(own)) == len(own)
    assert site.networks.gateway not in own
    members = {group: site.members(group) for group in GROUPS}
    assert all(members.values())
    assert all(node in site.nodes for group in members.values() for node in group)
    assert len(members["etcd"]) % 2 == 1
    assert not {site.dicom.port, site.dicom.tls_port, site.https_port} & inner_ports()
    assert len({site.dicom.port, site.dicom.tls_port, site.https_port}) == 3
    assert 0 < site.das_minimum_free_bytes < site.das_evict_below_bytes < site.das_evict_until_bytes
    assert site.das_evict_until_bytes < site.disks.das.usable_bytes
    zones = Counter(site.nodes[node].zone for node in members["cas"])
    assert 1 + int(site.policy.cas_replication[1]) <= len(zones)
    controller: IPv4Address = accepted.controller(site)
    assert any(controller in network for network in site.networks.management)
    assert any(controller in network for network in site.networks.clients)
    assert not any(network.prefixlen == 0 for network in (*site.networks.clients, *site.networks.management))
    if site.survives_a_node:
        survives(site, name)
    for node in site.nodes.values():
        assert all(device.startswith("/dev/disk/by-") for device in node.das_devices)
        assert node.management_address in {None, node.address} or node.management_address not in cluster


def survives(site: Site, name: str) -> None:
    for lost in site.nodes:
        left = [node for node in site.members("etcd") if node != lost]
        assert len(left) > len(site.members("etcd")) // 2, name
        assert len([node for node in site.members("postgres") if node != lost]) >= 2
        zones = Counter(site.nodes[node].zone for node in site.members("cas") if node != lost)
        assert len(zones) > int(site.policy.cas_replication[1])
        assert [node for node in site.members("pacs") if node != lost]
        assert [node for node in site.members("load_balancer") if node != lost]


def unique(accepted: Settings) -> None:
    """Assert that what must occur once in a deployment does."""
    sites = accepted.sites.values()
    once: dict[str, list[Hashable]] = {
        "titles": [
            *(title for site in sites for title in (site.dicom.store_ae, site.dicom.query_ae)),
            *(caller.ae_title for caller in accepted.callers),
            accepted.verify.ae_title,
            ae_titles.HEALTH_CHECK,
        ],
        "router ids": [site.vip.router_id for site in sites],
        "nodes": [name for site in sites for name in site.nodes],
        "disks": [
            device
            for site in sites
            for node in site.nodes.values()
            for device in node.das_devices
            if "/by-id/" in device
        ],
        "addresses": [
            *(site.vip.address for site in sites),
            *(
                address
                for site in sites
                for node in site.nodes.values()
                for address in {node.address, node.management_address} - {None}
            ),
            accepted.verify.host,
        ],
    }
    for what, values in once.items():
        assert len(set(values)) == len(values), what
    assert [site.role for site in sites].count("primary") == 1
    clients = [network for site in sites for network in site.networks.clients]
    for caller in accepted.callers:
        assert all(any(network.subnet_of(client) for client in clients) for network in caller.networks)
        assert (caller.host is None) == (caller.port is None)
    assert "move" not in {may for caller in accepted.callers for may in caller.may} or any(
        caller.host for caller in accepted.callers
    )


def test_the_examples_meet_what_is_asserted_here() -> None:
    for data in EXAMPLES:
        accepted = parse(data)
        for name, site in accepted.sites.items():
            works(accepted, name, site)
        unique(accepted)
