"""The nodes' program that injects faults: lease first, proof by what is seen, and undone without harm."""

from __future__ import annotations

import json
import os
import socket
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.ansible.loading import load_script

PIXELS = bytes(range(64))


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, with its state below a temporary directory and its commands noted in `commands`."""
    module = load_script("drill/files/hapacs-drill")
    commands: list[tuple[str, ...]] = []

    def run(*words: str, text: str | None = None) -> str:
        commands.append((*words, text or ""))
        return ""

    monkeypatch.setattr(module, "STATE", tmp_path / "drill.json")
    monkeypatch.setattr(module, "FORBIDDEN", tmp_path / "drill-forbidden")
    for place in (module, *map(import_module, ("drill_packets", "drill_processes"))):
        monkeypatch.setattr(place, "run", run)
    module.commands = commands  # type: ignore[attr-defined]
    return module


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "das" / "sha256" / "ab"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"head" + PIXELS + b"tail")
    return file


def flip(image: Path) -> dict[str, Any]:
    return {"kind": "flip", "files": f"{image.parent}/*", "bytes": PIXELS.hex()}


def test_lease_starts_before_the_fault(program: ModuleType) -> None:
    program.inject(77, {"kind": "cut", "peers": ["192.0.2.12"]})
    first, second = program.commands
    assert first[0] == "systemd-run"
    assert "--on-active=77" in first
    assert first[-2] == "heal"
    assert second[0] == "nft"


def test_state_is_written_before_a_fault_that_fails(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("nft is missing")

    monkeypatch.setattr(program.Packets, "apply", fail)
    with pytest.raises(OSError, match="nft"):
        program.inject(77, {"kind": "cut", "peers": ["192.0.2.12"]})
    assert program.STATE.exists(), "what is half done must be undone too"


def test_forbidden_node_refuses_and_changes_nothing(program: ModuleType, image: Path) -> None:
    program.main(["forbid"])
    with pytest.raises(program.RefusedError, match="forbidden"):
        program.inject(77, flip(image))
    assert image.read_bytes() == b"head" + PIXELS + b"tail"
    program.main(["allow"])
    program.inject(77, flip(image))


def test_forbidding_undoes_the_present_fault(program: ModuleType, image: Path) -> None:
    program.inject(77, flip(image))
    program.main(["forbid"])
    assert image.read_bytes() == b"head" + PIXELS + b"tail"


def test_second_fault_is_refused_while_there_is_one(program: ModuleType, image: Path) -> None:
    program.inject(77, flip(image))
    with pytest.raises(program.RefusedError, match="another drill"):
        program.inject(77, {"kind": "cut", "peers": ["192.0.2.12"]})


def test_one_byte_behind_the_bytes_is_changed_and_changed_back(program: ModuleType, image: Path) -> None:
    program.inject(77, flip(image))
    assert image.read_bytes() == b"head" + PIXELS + b"\x8bail"
    assert "one byte" in program.prove()["proof"]
    assert program.heal() == {"healed": True}
    assert image.read_bytes() == b"head" + PIXELS + b"tail"
    assert program.heal() == {"healed": False}


def test_file_that_the_site_replaced_is_left_alone(program: ModuleType, image: Path) -> None:
    program.inject(77, flip(image))
    new = image.with_name("new")
    new.write_bytes(b"head" + PIXELS + b"\x8bail")
    new.replace(image)
    program.heal()
    assert image.read_bytes() == b"head" + PIXELS + b"\x8bail"


def test_bytes_that_no_file_holds_are_refused(program: ModuleType, image: Path) -> None:
    with pytest.raises(program.RefusedError, match="no file"):
        program.inject(77, flip(image) | {"bytes": "ff" * 64})
    assert not program.STATE.exists()


def test_disk_that_is_no_mount_point_is_not_filled(program: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(program.RefusedError, match="no disk of its own"):
        program.inject(77, {"kind": "fill", "directory": str(tmp_path)})


def test_cut_without_dropped_packets_has_no_proof(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = {"kind": "cut", "peers": ["192.0.2.12"]}
    program.inject(77, fault)

    monkeypatch.setattr("drill_packets.run", lambda *_words, **_: counted(9, 0))
    assert program.main(["prove"]) == 1
    monkeypatch.setattr("drill_packets.run", lambda *_words, **_: counted(9, 3))
    assert program.main(["prove"]) == 0


def counted(seen: int, dropped: int) -> str:
    """Return the counters of a rule that counts and of one that drops, as nft lists them."""
    rules = [[{"match": {}}, {"counter": {"packets": seen}}], [{"counter": {"packets": dropped}}, {"drop": None}]]
    return json.dumps({"nftables": [{"metainfo": {}}, *({"rule": {"expr": parts}} for parts in rules)]})


@pytest.mark.parametrize(
    ("seen", "dropped", "proved"), [(499, 25, False), (1000, 50, True), (1000, 9, False), (1000, 200, False)]
)
def test_share_of_lost_packets_is_measured(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, seen: int, dropped: int, proved: bool
) -> None:
    lose = program.kind_of({"kind": "lose", "peers": ["192.0.2.12"], "percent": 5})
    lose.apply(lose.plan())
    assert "numgen random mod 100 < 5 counter drop" in program.commands[-1][-1]
    monkeypatch.setattr("drill_packets.run", lambda *_words, **_: counted(seen, dropped))
    assert bool(lose.proof({})) is proved


def test_stopped_unit_is_started_again(program: ModuleType) -> None:
    stop = program.kind_of({"kind": "stop", "unit": "etcd"})
    stop.apply({})
    stop.undo({})
    assert program.commands == [
        ("systemctl", "stop", "--no-block", "etcd", ""), ("systemctl", "start", "--no-block", "etcd", ""),
    ]  # fmt: skip


def test_rules_drop_only_what_is_named(program: ModuleType) -> None:
    fault = {"kind": "cut", "peers": ["192.0.2.12", "192.0.2.13"], "ports": [2379], "ways": ["in"]}
    assert program.kind_of(fault).plan() == {
        "in": [
            "ip saddr { 192.0.2.12, 192.0.2.13 } tcp sport { 2379 }",
            "ip saddr { 192.0.2.12, 192.0.2.13 } tcp dport { 2379 }",
        ]
    }


def test_port_is_closed_to_everybody_but_the_node_itself(program: ModuleType) -> None:
    fault = {"kind": "cut", "peers": ["192.0.2.12"], "closed": [8407]}
    assert program.kind_of(fault).plan() == {
        "in": ["ip saddr { 192.0.2.12 } ", 'iifname != "lo" tcp dport { 8407 }'],
        "out": ["ip daddr { 192.0.2.12 } "],
    }


def test_port_that_still_answers_is_no_proof(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drill_packets.run", lambda *_words, **_: counted(9, 3))
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        cut = program.kind_of({"kind": "cut", "peers": ["192.0.2.12"], "address": "127.0.0.1", "port": str(port)})
        assert cut.proof({}) == ""
    assert f"127.0.0.1:{port} can't be reached" in cut.proof({})
    monkeypatch.setattr("drill_packets.run", lambda *_words, **_: counted(9, 0))
    assert cut.proof({}) == "", "it is away for another reason: no packet was dropped"


def test_unit_without_a_process_is_refused(program: ModuleType) -> None:
    with pytest.raises(program.RefusedError, match="no process"):
        program.inject(77, {"kind": "kill", "unit": "orthanc-store"})


def test_processes_that_live_on_are_no_proof(program: ModuleType) -> None:
    kill = program.kind_of({"kind": "kill", "unit": "orthanc-store"})
    _, started = kill._status(str(os.getpid()))
    assert kill.proof({"processes": {str(os.getpid()): started}}) == ""
    assert "1 processes" in kill.proof({"processes": {str(os.getpid()): "1"}})


def test_processes_that_run_are_not_stopped(program: ModuleType) -> None:
    pause = program.kind_of({"kind": "pause", "unit": "orthanc-store"})
    _, started = pause._status(str(os.getpid()))
    assert pause.proof({"processes": {str(os.getpid()): started}}) == ""


def test_proof_is_looked_for_until_it_is_there(
    program: ModuleType, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.inject(77, flip(image))
    looks: list[OSError | str] = [OSError("a process has just ended"), "", "it is there"]

    def look(*_: object) -> str:
        if isinstance(found := looks.pop(0), OSError):
            raise found
        return found

    monkeypatch.setattr(program, "PROOF_EVERY_S", 0)
    monkeypatch.setattr(program.Flip, "proof", look)
    assert program.prove(30) == {"proof": "it is there"}


def test_proof_that_does_not_come_in_time_is_none(
    program: ModuleType, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program.inject(77, flip(image))
    monkeypatch.setattr(program.Flip, "proof", lambda *_: "")
    assert program.main(["prove", "0.1"]) == 1
    assert "has not taken effect" in capsys.readouterr().err


def test_look_that_fails_to_the_end_is_an_error(
    program: ModuleType, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.inject(77, flip(image))

    def look(*_: object) -> str:
        raise OSError("no such device")

    monkeypatch.setattr(program.Flip, "proof", look)
    with pytest.raises(OSError, match="no such device"):
        program.prove(0.1)


def test_lease_that_ended_leaves_nothing_to_prove(program: ModuleType) -> None:
    with pytest.raises(program.RefusedError, match="no fault"):
        program.prove()
