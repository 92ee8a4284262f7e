"""A slow link: packets wait for their time and keep their order, and the proof is a round trip that is longer."""

from __future__ import annotations

import os
import time
from types import ModuleType
from typing import Any

import pytest

from tests.unit.ansible.loading import load_script

FAULT = {"kind": "slow", "peers": ["192.0.2.12", "192.0.2.13"], "delay_ms": 200, "port": 2379}


@pytest.fixture
def module() -> ModuleType:
    return load_script("drill/files/drill_slow.py")


class Way:
    """A raw socket that notes what is sent, where to, and when."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, str, float]] = []

    def sendto(self, packet: bytes, to: tuple[str, int]) -> None:
        if packet.endswith(b"huge"):
            raise OSError("message too long")
        self.sent.append((packet[20:], to[0], time.monotonic()))


def packet(content: bytes, version: int = 4) -> bytes:
    """Return a packet to 192.0.2.12 whose header has only what the program reads."""
    return bytes([version << 4]) + bytes(15) + bytes([192, 0, 2, 12]) + content


def test_packets_are_passed_on_after_their_delay_in_their_order(module: ModuleType) -> None:
    source, end = os.pipe()
    way = Way()
    delay = module.Delay(0.05, source, way)
    begun = time.monotonic()
    for content in (b"first", b"huge", b"second"):
        os.write(end, packet(content))
        delay.step()
    os.write(end, packet(b"of IPv6", 6))
    while len(way.sent) < 2:
        delay.step()
    assert [(content, to) for content, to, _ in way.sent] == [(b"first", "192.0.2.12"), (b"second", "192.0.2.12")]
    assert all(at - begun >= 0.05 for *_, at in way.sent)
    os.close(source)
    os.close(end)


@pytest.mark.parametrize(("now_ms", "proved"), [(2.0, False), (150.0, False), (201.0, True)])
def test_round_trip_that_is_not_longer_is_no_proof(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, now_ms: float, *, proved: bool
) -> None:
    slow = module.Slow(FAULT)
    monkeypatch.setattr(slow, "_connects_ms", lambda peer: now_ms if peer == "192.0.2.13" else 1.0)
    assert bool(slow.proof({"before_ms": 1.0})) is proved


def test_slowest_of_the_nodes_counts_in_both_measurements(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = module.Slow(FAULT)
    monkeypatch.setattr(slow, "_connects_ms", {"192.0.2.12": 1.0, "192.0.2.13": 7.0}.__getitem__)
    monkeypatch.setattr(module.Path, "exists", lambda _: True)
    assert slow.plan() == {"before_ms": 7.0}


def test_node_without_tun_or_without_others_is_refused(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Path, "exists", lambda _: False)
    with pytest.raises(module.RefusedError, match="/dev/net/tun"):
        module.Slow(FAULT).plan()
    with pytest.raises(module.RefusedError, match="no other node"):
        module.Slow(FAULT | {"peers": []}).plan()


def test_packets_are_led_away_after_the_program_runs_and_back_before_it_ends(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[str] = []

    def run(*words: str, text: str = "") -> str:
        commands.append(" ".join([*words[:3], text]))
        return '[{"dev": "eth0", "mtu": 1500}]' if "-json" in words else "4711"

    def stop(words: list[str], **_: Any) -> None:
        commands.append(" ".join(words))

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module.subprocess, "run", stop)
    slow = module.Slow(FAULT)
    slow.apply({})
    assert commands[0].startswith("systemd-run")
    assert "ip daddr { 192.0.2.12, 192.0.2.13 } meta mark != " in commands[-1]
    commands.clear()
    slow.undo({})
    assert "delete table" in commands[0]
    assert commands[-1] == "systemctl stop hapacs-drill-slow.service"
