from __future__ import annotations

import urllib.error
from email.message import Message
from typing import Any

import pytest

from tests.unit.ansible.loading import load

settings = load("modules/patroni_settings")


def test_equal_settings_are_no_difference() -> None:
    present = {"ttl": 20, "postgresql": {"use_slots": True, "parameters": {"max_connections": 200, "other": 1}}}
    wanted = {"ttl": "20", "postgresql": {"use_slots": True, "parameters": {"max_connections": "200"}}}
    assert settings.different(wanted, present) == []


def test_difference_is_named_by_its_path() -> None:
    present = {"ttl": 30, "postgresql": {"parameters": {"max_connections": 100}}}
    wanted = {"ttl": 20, "postgresql": {"parameters": {"max_connections": 200, "wal_level": "replica"}}}
    assert settings.different(wanted, present) == [
        "ttl",
        "postgresql.parameters.max_connections",
        "postgresql.parameters.wal_level",
    ]


class Cluster:
    """Answers as three Patronis would; a member that was restarted takes some looks to come back."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.restarted: list[str] = []
        self.away = 0

    def ask(self, method: str, url: str, _body: dict[str, Any] | None = None) -> dict[str, Any]:
        names = {"leader": "a", "standby": "b", "other": "c"}
        if method == "POST":
            assert self.away == 0, "a second member was restarted while the first was away"
            self.restarted.append(url.split("//")[1].split("/", maxsplit=1)[0])
            self.away = self.looks
            return {}
        self.away = max(0, self.away - 1)
        return {
            "members": [
                {
                    "name": name,
                    "role": "leader" if role == "leader" else "quorum_standby",
                    "state": "starting" if self.away and self.restarted[-1] == name else "streaming",
                    "api_url": f"https://{name}/patroni",
                    "pending_restart": role != "other",
                }
                for role, name in names.items()
            ]
        }


def test_members_restart_one_at_a_time_and_the_leader_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.time, "sleep", lambda _: None)
    cluster = Cluster(looks=3)
    assert settings.restart_pending(cluster, "https://a", 60) == ["b", "a"]
    assert cluster.restarted == ["b", "a"]


def test_member_that_does_not_return_ends_the_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.time, "sleep", lambda _: None)
    cluster = Cluster(looks=10**9)
    with pytest.raises(TimeoutError, match="b did not come back within 0 s of the restart of b"):
        settings.restart_pending(cluster, "https://a", 0)
    assert cluster.restarted == ["b"]


class Interface(settings.Patroni):  # type: ignore[misc,name-defined]
    """A member whose REST interface is closed at first, or answers with an error."""

    def __init__(self, errors: list[OSError], patience_s: float = 15) -> None:
        self.errors, self.sent, self._patience_s = errors, 0, patience_s

    def _send(self, _method: str, _url: str, _body: dict[str, Any] | None) -> dict[str, Any]:
        self.sent += 1
        if self.errors:
            raise self.errors.pop(0)
        return {"ttl": 20}


RESET = urllib.error.URLError(ConnectionResetError(104, "Connection reset by peer"))


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_reopening_interface_is_asked_again(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.time, "sleep", lambda _: None)
    member = Interface([RESET, RESET])
    assert member.ask(method, "https://a/config") == {"ttl": 20}
    assert member.sent == 3


@pytest.mark.parametrize(
    ("method", "error", "patience_s"),
    [
        ("POST", RESET, 15),
        ("GET", RESET, -1),
        ("GET", urllib.error.HTTPError("https://a", 401, "no", Message(), None), 15),
    ],
)
def test_started_or_answered_request_is_not_repeated(method: str, error: OSError, patience_s: float) -> None:
    member = Interface([error], patience_s)
    with pytest.raises(OSError, match=r"reset|401"):
        member.ask(method, "https://a/restart")
    assert member.sent == 1
