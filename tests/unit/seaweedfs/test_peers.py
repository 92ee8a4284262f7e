from __future__ import annotations

import socket
import struct

import pytest

from tests.unit.ansible.loading import load_script

peers = load_script("seaweedfs/files/seaweedfs-peers")


class Deaf:
    """A socket that sends into nothing."""

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def sendto(self, packet: bytes, address: tuple[str, int]) -> int:
        assert peers.checksum(packet) == 0
        assert address[1] == 0
        return len(packet)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    monkeypatch.setattr(peers, "run", lambda *command, text="": seen.append(" ".join(command) + text))
    monkeypatch.setattr(socket, "socket", lambda *_: Deaf())
    return seen


def test_a_silent_member_loses_its_connections_until_it_answers(commands: list[str]) -> None:
    watch = peers.Watch(["192.0.2.2", "192.0.2.3"])
    for _ in range(peers.UNANSWERED):
        assert commands == []
        watch.ask()
        watch.answered(watch.peers["192.0.2.3"])
        watch.judge()
    assert "192.0.2.2 timeout" in commands[0]
    assert commands[1] == "ss --tcp --kill dst 192.0.2.2"
    assert not any("192.0.2.3" in command for command in commands)
    watch.judge()
    assert len(commands) == 2, "the rule is renewed only when it is due"
    watch.answered(watch.peers["192.0.2.2"])
    assert "flush set" in commands[2]
    watch.judge()
    assert len(commands) == 3


def test_a_member_that_answers_now_and_then_keeps_its_connections(commands: list[str]) -> None:
    watch = peers.Watch(["192.0.2.2"])
    for number in range(5 * peers.UNANSWERED):
        watch.ask()
        if number % (peers.UNANSWERED - 1) == 0:
            watch.answered(watch.peers["192.0.2.2"])
        watch.judge()
    assert commands == []


def test_only_the_answer_to_our_own_request_counts() -> None:
    header = bytes([0x45]) + bytes(19)
    reply = struct.pack("!BBHHH", peers.ECHO_REPLY, 0, 0, 7, 1)
    assert peers.is_reply(header + reply, 7)
    assert not peers.is_reply(header + reply, 8)
    assert not peers.is_reply(header + peers.echo_request(7, 1), 7)
    assert not peers.is_reply(header, 7)
