"""What the nodes' own script tells of their cluster, and when it moves etcd's leader away."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.unit.ansible.loading import load_script

CONFIGURATION = {
    "name": "a",
    "restapi": {"connect_address": "192.0.2.1:8008"},
    "ctl": {"cacert": "ca", "certfile": "crt", "keyfile": "key"},
    "etcd3": {"hosts": ["192.0.2.1:2379", "192.0.2.2:2379", "192.0.2.3:2379"], "cacert": "c", "cert": "c", "key": "k"},
}


@pytest.fixture
def script() -> ModuleType:
    return load_script("postgres/files/postgres-cluster")


def member(name: str, role: str = "quorum_standby", state: str = "streaming") -> dict[str, Any]:
    return {"name": name, "role": role, "state": state}


def answers(
    database_leader: str, etcd_leader: int, *, dead: tuple[int, ...] = ()
) -> tuple[Callable[..., Any], list[Any]]:
    """Answer as Patroni and three members of etcd (ids 1 to 3) would; keep what was asked to change."""
    moved: list[Any] = []

    def ask(url: str, _tls: dict[str, str], body: dict[str, Any] | None = None) -> Any:
        if url.endswith("/cluster"):
            return {"members": [member(name, "leader" if name == database_leader else "replica") for name in "abc"]}
        number = int(url.split(":2379", maxsplit=1)[0].rsplit(".", 1)[1])
        if number in dead:
            raise OSError("no answer")
        if url.endswith("/transfer-leadership"):
            moved.append((number, body))
            return {}
        return {"leader": str(etcd_leader), "header": {"member_id": str(number)}}

    return ask, moved


def fake(script: ModuleType, monkeypatch: pytest.MonkeyPatch, ask: Callable[..., Any]) -> None:
    monkeypatch.setattr(script, "ask", ask)
    monkeypatch.setattr(script.patroni_http, "ask", ask)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([member("a", "leader", "running"), member("b")], []),
        ([member("a", "leader", "running"), member("b", state="starting")], ["b is starting"]),
        ([member("a", "leader", "running")], ["b is missing"]),
        ([member("a"), member("b")], ["leaders: none"]),
        ([member("a", "leader", "running"), member("b", "leader", "running")], ["leaders: a, b"]),
    ],
)
def test_cluster_is_whole_with_all_members_and_one_leader(
    script: ModuleType, found: list[dict[str, Any]], said: list[str]
) -> None:
    assert script.trouble(found, ["a", "b"]) == said


def test_lost_standby_does_not_make_this_node_unhealthy(script: ModuleType) -> None:
    assert script.trouble([member("a", "leader", "running"), member("b", state="stopped")], ["a"]) == []


def test_etcd_is_handed_over_when_one_node_leads_both(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, moved = answers("a", 1)
    fake(script, monkeypatch, ask)
    script.apart(CONFIGURATION)
    assert moved == [(1, {"targetID": "2"})]


def test_failed_member_is_not_selected(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, moved = answers("a", 1, dead=(2,))
    fake(script, monkeypatch, ask)
    script.apart(CONFIGURATION)
    assert moved == [(1, {"targetID": "3"})]


@pytest.mark.parametrize(
    ("database_leader", "etcd_leader", "dead"), [("b", 1, ()), ("a", 2, ()), ("a", 1, (2, 3)), ("a", 1, (1,))]
)
def test_no_leader_moves_without_need(
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    database_leader: str,
    etcd_leader: int,
    dead: tuple[int, ...],
) -> None:
    ask, moved = answers(database_leader, etcd_leader, dead=dead)
    fake(script, monkeypatch, ask)
    script.apart(CONFIGURATION)
    assert moved == []
