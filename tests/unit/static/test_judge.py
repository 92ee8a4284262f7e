"""What a machine is refused for, and that a sound one is not; each refusal names the machine and what to change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from hapacs.services.model import GROUPS
from hapacs.targets.static.judge import DAS_LABEL, Answer, Disk, Machine, Wanted, problems
from tests.unit.ansible.loading import ANSIBLE

GIB = 1 << 30
NOW = 1_800_000_000.0
WANTED = Wanted(
    name="pacs1",
    path="sites.main.nodes.pacs1",
    reached_at="198.51.100.11",
    address="192.0.2.11",
    groups=GROUPS,
    devices=("/dev/disk/by-id/a", "/dev/disk/by-id/b"),
    size_bytes=16 * GIB,
)
DAS = {"content": "btrfs", "label": DAS_LABEL, "uuid": "1"}


def disk(letter: str, **changes: Any) -> Disk:
    blank = {"there": True, "block": True, "path": f"/dev/sd{letter}", "kind": "disk", "size_bytes": 16 * GIB}
    return Disk.model_validate(blank | {"serial": f"S-{letter}"} | changes)


def machine(disks: dict[str, Disk] | None = None, **changes: Any) -> Machine:
    values = {
        "system": "debian",
        "version": "13",
        "architecture": "x86_64",
        "memory_bytes": 16 * GIB,
        "machine_id": "one",
        "addresses": ["127.0.0.1", "192.0.2.11", "198.51.100.11"],
        "time": NOW,
        "disks": {"/dev/disk/by-id/a": disk("a"), "/dev/disk/by-id/b": disk("b")} | (disks or {}),
    }
    return Machine.model_validate(values | changes)


def found(answer: Machine, wanted: Wanted = WANTED) -> list[str]:
    return problems({wanted: Answer(answer, asked_at=NOW - 0.5, answered_at=NOW + 0.5)})


def test_fitting_machine_has_no_problem() -> None:
    assert found(machine()) == []


def test_label_of_the_store_is_that_of_the_role_das() -> None:
    assert yaml.safe_load((ANSIBLE / "roles/das/vars/main.yml").read_text())["__das_label"] == DAS_LABEL


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"system": "ubuntu", "version": "24.04"}, "runs ubuntu 24.04; install Debian 13"),
        ({"version": "12"}, "runs debian 12; install Debian 13"),
        ({"version": ""}, "runs debian ; install Debian 13"),
        ({"architecture": "aarch64"}, "is a aarch64"),
        ({"addresses": ["198.51.100.11"]}, "does not have the address 192.0.2.11 (it has 198.51.100.11)"),
        ({"memory_bytes": 8 * GIB}, "has 8 GiB of memory"),
        ({"time": NOW - 60}, "its clock is 60 s behind this machine's"),
        ({"time": NOW + 60}, "its clock is 60 s ahead of this machine's"),
    ],
)
def test_unfit_machine_is_refused(changes: dict[str, Any], said: str) -> None:
    (problem,) = found(machine(**changes))
    assert problem.startswith("pacs1 (198.51.100.11): ")
    assert said in problem


@pytest.mark.parametrize("offset_s", [-5.4, 0, 5.4])
def test_duration_of_the_answer_is_no_clock_offset(offset_s: float) -> None:
    assert found(machine(time=NOW + offset_s)) == []


def test_needed_memory_depends_on_the_groups() -> None:
    small = machine(memory_bytes=2 * GIB)
    assert found(small, replace(WANTED, groups=("etcd",))) == []
    assert "postgres need" in found(small, replace(WANTED, groups=("postgres",)))[0]
    # 16 GiB as a kernel counts them.
    assert found(machine(memory_bytes=15 * GIB)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"there": False}, "there is no /dev/disk/by-id/a; look at"),
        ({"block": False}, "is no disk"),
        ({"kind": "part"}, "is a part; give a whole disk"),
        ({"kind": "rom"}, "is a rom"),
        ({"read_only": True}, "is read-only"),
        ({"size_bytes": 8 * GIB}, "has 8 GiB, the settings want 16 GiB"),
        ({"content": "ext4"}, "holds data (ext4)"),
        ({"content": "ext4"}, "add 'S-a' to sites.main.nodes.pacs1.wipe_serials"),
        ({"content": "gpt"}, "holds data (gpt)"),
        ({"content": "unknown"}, "holds data (unknown)"),
        ({"content": "btrfs", "label": "other"}, "holds data (btrfs other)"),
        ({"parts": ["sda1"]}, "holds data (partitions sda1)"),
        ({"content": "ext4", "serial": ""}, "has no serial number; give another disk, or empty it yourself"),
        ({"content": "ext4", "mounts": ["/home"]}, "is in use (ext4; mounted at /home)"),
        ({"content": "swap", "mounts": ["[SWAP]"]}, "is in use"),
    ],
)
def test_unfit_disk_is_refused(changes: dict[str, Any], said: str) -> None:
    (problem,) = found(machine({"/dev/disk/by-id/a": disk("a", **changes)}))
    assert problem.startswith("pacs1 (198.51.100.11): ")
    assert said in problem


@pytest.mark.parametrize(
    ("changes", "permitted"),
    [
        ({"content": "ext4"}, True),
        ({"parts": ["sda1"]}, True),
        ({"content": "ext4", "serial": "other"}, False),
        ({"content": "ext4", "serial": ""}, False),
        ({"content": "ext4", "mounts": ["/home"]}, False),
    ],
)
def test_disk_with_data_is_emptied_only_by_its_serial_number(changes: dict[str, Any], permitted: bool) -> None:
    wanted = replace(WANTED, wipe_serials=("S-a",))
    assert (found(machine({"/dev/disk/by-id/a": disk("a", **changes)}), wanted) == []) is permitted


def test_disks_of_an_existing_store_are_accepted() -> None:
    both = {"/dev/disk/by-id/a": disk("a", **DAS, mounts=["/srv/das"]), "/dev/disk/by-id/b": disk("b", **DAS)}
    assert found(machine(both)) == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({}, "is blank, while /dev/disk/by-id/a holds online copies"),
        ({"content": "ext4"}, "is not of the store (ext4), while /dev/disk/by-id/a holds online copies"),
    ],
)
def test_serial_number_permits_nothing_beside_online_copies(other: dict[str, Any], said: str) -> None:
    disks = {"/dev/disk/by-id/a": disk("a", **DAS), "/dev/disk/by-id/b": disk("b", **other)}
    (problem,) = found(machine(disks), replace(WANTED, wipe_serials=("S-a", "S-b")))
    assert said in problem
    assert "btrfs replace" in problem


def test_disks_of_two_stores_are_refused() -> None:
    disks = {"/dev/disk/by-id/a": disk("a", **DAS), "/dev/disk/by-id/b": disk("b", **DAS | {"uuid": "2"})}
    (problem,) = found(machine(disks))
    assert "belong to different online stores" in problem


def test_disk_with_two_names_is_refused() -> None:
    (problem,) = found(machine({"/dev/disk/by-id/b": disk("a")}))
    assert "are the same disk (/dev/sda)" in problem


def test_machine_with_two_addresses_is_refused() -> None:
    other = replace(WANTED, name="pacs2", reached_at="198.51.100.12")
    answer = Answer(machine(), asked_at=NOW, answered_at=NOW)
    (problem,) = problems({WANTED: answer, other: answer})
    assert "pacs1 (198.51.100.11) and pacs2 (198.51.100.12) have the same machine id" in problem


def test_all_problems_of_all_machines_are_reported_together() -> None:
    other = replace(WANTED, name="pacs2", reached_at="198.51.100.12")
    bad = machine({"/dev/disk/by-id/b": disk("b", content="xfs")}, version="12", memory_bytes=GIB)
    told = problems({WANTED: Answer(refusal="can't be reached"), other: Answer(bad, asked_at=NOW, answered_at=NOW)})
    assert [line.partition(":")[0] for line in told] == ["pacs1 (198.51.100.11)", *["pacs2 (198.51.100.12)"] * 3]
