from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from tests.unit.ansible.loading import ANSIBLE, load

rules = load("filter/firewall").firewall_rules

MEMBERS = {
    "etcd": [{"name": "a", "address": "192.0.2.11"}, {"name": "b", "address": "192.0.2.12"}],
    "pacs": [{"name": "b", "address": "192.0.2.12"}],
    "monitoring": [],
}
NETWORKS = {"management": ["198.51.100.0/24"], "clients": []}


def test_a_row_gives_a_rule_to_the_nodes_of_its_group_only() -> None:
    table = [{"to": "etcd", "ports": [2379, 2380], "from": ["pacs"]}]
    assert rules(table, ["etcd"], MEMBERS, NETWORKS) == [
        {"comment": "etcd from pacs", "match": "tcp dport { 2379, 2380 }", "sources": ["192.0.2.12"]}
    ]
    assert rules(table, ["pacs"], MEMBERS, NETWORKS) == []


def test_sources_are_joined_without_doubles_and_in_order() -> None:
    table = [{"to": "all", "ports": [9100], "from": ["management", "pacs", "etcd"]}]
    assert rules(table, [], MEMBERS, NETWORKS)[0]["sources"] == ["192.0.2.11", "192.0.2.12", "198.51.100.0/24"]


def test_a_row_without_a_source_opens_nothing() -> None:
    table = [{"to": "etcd", "ports": [2379], "from": ["monitoring", "clients"]}]
    assert rules(table, ["etcd"], MEMBERS, NETWORKS) == []


def test_a_protocol_takes_the_place_of_ports() -> None:
    table = [{"to": "etcd", "protocol": "vrrp", "from": ["etcd"]}]
    assert rules(table, ["etcd"], MEMBERS, NETWORKS)[0]["match"] == "ip protocol vrrp"


def test_an_unknown_source_is_an_error_not_an_open_door() -> None:
    with pytest.raises(AnsibleFilterError, match="'everybody' is neither a group"):
        rules([{"to": "etcd", "ports": [1], "from": ["everybody"]}], ["etcd"], MEMBERS, NETWORKS)


def test_the_site_opens_the_inner_ports_to_members_only() -> None:
    table: list[dict[str, Any]] = yaml.safe_load(
        (ANSIBLE / "playbooks" / "group_vars" / "all" / "firewall.yml").read_text(encoding="utf-8")
    )["firewall_table"]
    inner = {2379, 2380, 5432, 8008, 19333, 8080, 18080, 8888, 18888, 4242, 4243, 7780}
    reached = {port: row["from"] for row in table for port in row.get("ports", []) if port in inner}
    assert set(reached) == inner
    # The masters' pages are in the clear; members talk by gRPC.
    assert not any(9333 in row.get("ports", []) for row in table)
    for port, sources in reached.items():
        assert not {"clients", "management"} & set(sources), port
