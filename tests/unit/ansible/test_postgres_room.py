"""When a leader whose disk is full hands over, and to which standby."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.ansible.loading import load_script

CONFIGURATION: dict[str, Any] = {
    "name": "a",
    "scope": "lab",
    "restapi": {"connect_address": "192.0.2.1:8008", "authentication": {"username": "patroni", "password": "secret"}},
    "ctl": {"cacert": "ca", "certfile": "crt", "keyfile": "key"},
    "etcd3": {"hosts": ["192.0.2.1:2379", "192.0.2.2:2379"], "cacert": "c", "cert": "c", "key": "k"},
}
GIB = 1 << 30


@pytest.fixture
def script() -> ModuleType:
    return load_script("postgres/files/postgres-room")


def members(leader: str = "a", **changed: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name, "role": "leader" if name == leader else "quorum_standby",
            "state": "running" if name == leader else "streaming", **changed.get(name, {}),
        }
        for name in "abc"
    ]  # fmt: skip


def test_full_leader_hands_over_to_the_standby_with_the_most_room(script: ModuleType) -> None:
    assert script.heir(members(), "a", {"a": 0, "b": GIB, "c": 2 * GIB}) == "c"


@pytest.mark.parametrize(
    ("found", "free"),
    [
        (members(), {"a": GIB, "b": 2 * GIB, "c": 2 * GIB}),
        (members("b"), {"a": 0, "b": GIB, "c": GIB}),
        (members(), {"a": 0, "b": 300 << 20, "c": 300 << 20}),
        (members(), {"a": 0}),
        (members(b={"role": "replica"}, c={"state": "stopped"}), {"a": 0, "b": GIB, "c": GIB}),
        (members(b={"tags": {"nofailover": True}}, c={"role": "replica"}), {"a": 0, "b": GIB, "c": GIB}),
    ],
    ids=["room", "standby", "all nearly full", "room unknown", "no quorum standby", "drained"],
)
def test_lead_stays_without_a_better_node(
    script: ModuleType, found: list[dict[str, Any]], free: dict[str, int]
) -> None:
    assert script.heir(found, "a", free) == ""


def test_free_space_is_that_of_the_file_system(script: ModuleType, tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    assert script.free_bytes(tmp_path) == pytest.approx(found.f_bavail * found.f_frsize, rel=0.1)
    assert list(tmp_path.iterdir()) == [], "the probe leaves no file"


def test_file_system_that_takes_no_file_has_no_room(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert script.free_bytes(tmp_path) == 0
    assert list(tmp_path.iterdir()) == []
    assert script.free_bytes(tmp_path / "missing") == 0


def cluster(asked: list[tuple[str, Any]], dead: str = "") -> Callable[..., Any]:
    """Answer as Patroni and etcd would; the keys of etcd are kept."""
    kept: dict[str, str] = {}

    def ask(url: str, _tls: dict[str, str], body: Any = None, **more: Any) -> Any:
        asked.append((url, body))
        if dead and dead in url:
            raise OSError("no answer")
        if url.endswith("/cluster"):
            return {"members": members()}
        if url.endswith("/lease/grant"):
            return {"ID": "7"}
        if url.endswith("/kv/put"):
            assert body["lease"] == "7", "a node that is gone has no room"
            kept[body["key"]] = body["value"]
            return {}
        if url.endswith("/kv/range"):
            first, end = base64.b64decode(body["key"]), base64.b64decode(body["range_end"])
            return {
                "kvs": [
                    {"key": key, "value": value} for key, value in kept.items() if first <= base64.b64decode(key) < end
                ]
            }
        assert more["login"] == ("patroni", "secret")
        return "Successfully switched over"

    return ask


def test_published_room_is_read_by_all_and_decides(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any]] = []
    monkeypatch.setattr(script.patroni_http, "ask", cluster(asked))
    published = script.Published(CONFIGURATION)
    for name, free in {"a": 5 * GIB, "b": GIB, "c": 2 * GIB}.items():
        published.publish(name, free)
    script.Published({**CONFIGURATION, "scope": "lab2"}).publish("d", GIB)
    assert published.read() == {"a": 5 * GIB, "b": GIB, "c": 2 * GIB}
    # Its own room is what it sees now, not what it published.
    assert "to c" in script.check(CONFIGURATION, published, 0)
    assert asked[-1] == ("https://192.0.2.1:8008/switchover", {"leader": "a", "candidate": "c"})


def test_nothing_is_asked_while_there_is_room(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any]] = []
    monkeypatch.setattr(script.patroni_http, "ask", cluster(asked))
    assert script.check(CONFIGURATION, script.Published(CONFIGURATION), GIB) == ""
    assert asked == []


def test_another_member_of_etcd_is_asked_when_one_is_silent(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script.patroni_http, "ask", cluster([], dead="192.0.2.1:2379"))
    published = script.Published(CONFIGURATION)
    published.publish("b", GIB)
    assert published.read() == {"b": GIB}
    monkeypatch.setattr(script.patroni_http, "ask", cluster([], dead=":2379"))
    with pytest.raises(OSError, match="no answer"):
        published.read()
