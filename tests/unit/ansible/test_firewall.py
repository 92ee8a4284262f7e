"""Rules of the firewall: who reaches which port of a node, from the table of services."""

from __future__ import annotations

from typing import Any

import pytest

from hapacs.services import table
from hapacs.services.model import GROUPS, Port, Protocol, Service
from tests.unit.ansible.loading import load

rules = load("filter/services").firewall_rules

MEMBERS = {
    "etcd": [{"name": "a", "address": "192.0.2.11"}, {"name": "b", "address": "192.0.2.12"}],
    "pacs": [{"name": "b", "address": "192.0.2.12"}],
    "monitoring": [],
}
NETWORKS = {"management": ["198.51.100.0/24"], "clients": ["203.0.113.0/24"]}
SITE = {"dicom": {"port": 11112, "tls_port": 2762}, "https_port": 443}


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that puts one service in the place of all others."""

    def declare(*ports: Port, group: Any = "etcd", protocols: tuple[Protocol, ...] = ()) -> None:
        service = Service("one", role="one", group=group, ports=ports, protocols=protocols)
        monkeypatch.setattr(table, "SERVICES", (service,))

    return declare


def test_ports_are_opened_on_nodes_of_the_group_only(declared: Any) -> None:
    declared(Port(2380, "b", "tls", ("pacs",)), Port(2379, "a", "tls", ("pacs",)))
    assert rules(["etcd"], MEMBERS, NETWORKS, SITE) == [
        {"comment": "etcd from pacs", "match": "tcp dport { 2379, 2380 }", "sources": ["192.0.2.12"]}
    ]
    assert rules(["pacs"], MEMBERS, NETWORKS, SITE) == []


def test_sources_are_sorted_without_duplicates(declared: Any) -> None:
    declared(Port(9100, "a", "tls", ("management", "pacs", "etcd")), group=None)
    assert rules([], MEMBERS, NETWORKS, SITE)[0]["sources"] == ["192.0.2.11", "192.0.2.12", "198.51.100.0/24"]


def test_port_without_a_source_is_not_opened(declared: Any) -> None:
    declared(Port(1, "a", "tls", ("monitoring",)), Port(2, "b", "tls", ("load_balancer",)), Port(3, "c", "closed"))
    assert rules(["etcd"], MEMBERS, NETWORKS, SITE) == []


def test_protocol_is_opened_without_a_port(declared: Any) -> None:
    declared(protocols=(Protocol("vrrp", ("etcd",)),))
    assert rules(["etcd"], MEMBERS, NETWORKS, SITE)[0]["match"] == "ip protocol vrrp"


def test_clients_reach_the_ports_of_the_virtual_address_and_no_other() -> None:
    everyone = {group: [{"address": "192.0.2.11"}] for group in GROUPS}
    found = rules(list(everyone), everyone, NETWORKS, SITE)
    assert [rule["match"] for rule in found if "203.0.113.0/24" in rule["sources"]] == [
        "tcp dport { 443, 2762, 11112 }"
    ]
