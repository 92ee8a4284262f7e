"""Asking machines: what they say is read, and why they can't be asked is told with what to change."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hapacs.errors import RefusedError
from hapacs.settings import load
from hapacs.targets import static
from hapacs.targets.static import asking, machine_facts
from hapacs.targets.static.asking import Access, ask, why
from hapacs.targets.static.judge import Answer, Wanted
from tests.unit.provisioning.conftest import LAB

ACCESS = Access("operator", 22, Path("/state/ssh/id_ed25519"), Path("/state/ssh/known_hosts"))
WANTED = Wanted("pacs1", "sites.main.nodes.pacs1", "198.51.100.11", "192.0.2.11", ("etcd",), ("/dev/none",))


@pytest.mark.parametrize(
    ("code", "said", "told"),
    [
        (255, "ssh: connect to host 198.51.100.11 port 22: Connection timed out", "can't be reached by SSH"),
        (255, "ssh: connect to host 198.51.100.11 port 22: Connection refused", "Connection refused"),
        (
            255,
            (
                "No ED25519 host key is known for 198.51.100.11 and you have requested strict checking.\n"
                "Host key verification failed."
            ),
            "ssh-keyscan -t ed25519 -p 22 198.51.100.11",
        ),
        (
            255,
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            "its host key is another than the one in /state/ssh/known_hosts",
        ),
        (255, "operator@198.51.100.11: Permission denied (publickey).", "add /state/ssh/id_ed25519.pub"),
        (1, "sudo: a password is required", "operator ALL=(ALL) NOPASSWD: ALL"),
        (127, "bash: line 1: sudo: command not found", "install sudo"),
        (1, "sudo: python3: command not found", "`apt install python3`"),
        (1, "Traceback\nPermissionError: [Errno 13]", "can't report its facts: PermissionError"),
    ],
)
def test_refusal_names_the_cause_and_the_remedy(code: int, said: str, told: str) -> None:
    assert told in why(code, said, WANTED, ACCESS)


def test_name_of_a_host_key_contains_a_port_other_than_22() -> None:
    access = Access("operator", 2222, ACCESS.key, ACCESS.known_hosts)
    assert "-R [198.51.100.11]:2222" in why(255, "REMOTE HOST IDENTIFICATION HAS CHANGED", WANTED, access)


def answer(monkeypatch: pytest.MonkeyPatch, *command: str) -> Answer:
    """Ask, with another command in the place of ssh."""
    monkeypatch.setattr("hapacs.ssh.command", lambda *_, **__: list(command))
    return ask(WANTED, ACCESS)


def test_machine_reports_its_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    # This machine, asked as a node is: by the script on standard input and with no package of ours.
    command = [sys.executable, "-I", "-", json.dumps(["/dev/none", "/dev/null"])]
    before = time.time()
    got = answer(monkeypatch, *command)
    assert got.refusal == ""
    assert got.machine is not None
    assert got.asked_at <= got.machine.time <= got.answered_at
    assert before <= got.asked_at
    assert got.machine.memory_bytes > 0
    assert "127.0.0.1" in got.machine.addresses
    assert {name: (disk.there, disk.block) for name, disk in got.machine.disks.items()} == {
        "/dev/none": (False, False),
        "/dev/null": (True, False),
    }


def test_unreadable_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "can't be read" in answer(monkeypatch, "echo", "hello").refusal
    assert "can't be read" in answer(monkeypatch, "echo", '{"system": "debian"}').refusal


def test_machine_that_never_answers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_TIMEOUT_S", 0.1)
    assert "does not answer within" in answer(monkeypatch, "sleep", "5").refusal


def lsblk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seen: dict[str, Any], blkid: tuple[int, str]
) -> dict[str, Any]:
    """Look at a device of which lsblk and blkid say something given."""
    answers = {"lsblk": (0, json.dumps({"blockdevices": [seen]})), "blkid": blkid}
    monkeypatch.setattr(machine_facts, "run", lambda program, *_: answers[program])
    monkeypatch.setattr("stat.S_ISBLK", lambda _: True)
    device = tmp_path / "disk"
    device.touch()
    return machine_facts.disk(str(device))


BARE = {"name": "sda", "type": "disk", "size": 1024, "ro": False, "serial": None, "mountpoints": [None]}


@pytest.mark.parametrize(
    ("blkid", "content"),
    [
        ((2, ""), ""),
        ((0, "DEVNAME=/dev/sda\nTYPE=ext4\nLABEL=x=y\nUUID=1\n"), "ext4"),
        ((0, "DEVNAME=/dev/sda\nPTTYPE=gpt\n"), "gpt"),
        ((8, ""), "unknown"),
    ],
)
def test_content_of_a_disk_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, blkid: tuple[int, str], content: str
) -> None:
    found = lsblk(monkeypatch, tmp_path, BARE, blkid)
    assert found["content"] == content


def test_partitions_and_mounts_are_found_at_any_depth(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    volume = BARE | {"name": "root", "type": "lvm", "mountpoints": ["/"]}
    part = BARE | {"name": "sda1", "type": "part", "children": [volume]}
    found = lsblk(monkeypatch, tmp_path, BARE | {"serial": " S1 ", "children": [part]}, (0, "PTTYPE=dos\n"))
    assert (found["parts"], found["mounts"], found["serial"]) == (["sda1", "root"], ["/"], "S1")


def test_target_asks_once_and_reports_all_problems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = load(LAB.parents[1] / "example-hospital/settings.yaml")
    asked = []

    def refuse(machines: Any, _access: object) -> dict[Any, Answer]:
        asked.append([machine.name for machine in machines])
        return {machine: Answer(refusal="can't be reached") for machine in machines}

    monkeypatch.setattr(static, "ask_all", refuse)
    target = static.create(settings, tmp_path)
    with pytest.raises(RefusedError, match="4 machines are not ready: 4 problems") as caught:
        target.ready()
    assert "dr1 (198.51.100.14): can't be reached" in caught.value.message
    assert asked == [["pacs1", "pacs2", "pacs3", "dr1"]]
    monkeypatch.setattr(static, "ask_all", lambda *_: {})
    target.ready()
    monkeypatch.setattr(static, "ask_all", refuse)
    target.ready()


def test_wanted_machine_has_the_values_of_the_settings() -> None:
    settings = load(LAB.parents[1] / "example-hospital/settings.yaml")
    first = static.wanted(settings)[0]
    assert (first.reached_at, first.address) == ("198.51.100.11", "192.0.2.11")
    assert first.size_bytes == 16 << 40
    assert len(first.devices) == 2
