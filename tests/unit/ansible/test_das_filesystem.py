"""The one rule: no disk that holds anything is overwritten, unless its serial number is given and nothing is ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from tests.unit.ansible.loading import load

das = load("modules/das_filesystem")

OURS = {"TYPE": "btrfs", "LABEL": "hapacs-das", "UUID": "0000-1"}


class Ended(Exception):  # noqa: N818 - how a module ends, well or badly
    """What the module said."""

    def __init__(self, **said: Any) -> None:
        super().__init__(said.get("msg", ""))
        self.said = said


class Machine:
    """Disks by name, each with what blkid finds on it, or ``partitioned``."""

    def __init__(self, **disks: dict[str, str] | str) -> None:
        self.disks = {f"/dev/{name}": found for name, found in disks.items()}
        self.made: list[str] = []
        self.wiped: list[str] = []
        self.serials: dict[str, str] = {}

    def run(self, command: list[str], check_rc: bool = False) -> tuple[int, str, str]:
        if command[0] == "mkfs.btrfs":
            assert check_rc
            assert "--force" not in command
            self.made = command
            for disk in self.disks:
                self.disks[disk] = OURS
            return 0, "", ""
        if command[0] == "wipefs":
            assert check_rc
            assert "--force" not in command
            self.wiped.append(command[-1])
            return 0, "", ""
        found = self.disks[command[-1]]
        if "SERIAL" in command:
            return 0, f"{self.serials.get(command[-1], '')}\n", ""
        if command[0] == "lsblk":
            children = [{"name": "part1"}] if found == "partitioned" else []
            return 0, json.dumps({"blockdevices": [{"name": "disk", "children": children}]}), ""
        assert command[0] == "blkid"
        if not isinstance(found, dict) or not found:
            return 2, "", ""
        return 0, "\n".join(f"{key}={value}" for key, value in found.items()), ""


def apply(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, check_mode: bool = False, wipe: tuple[str, ...] = ()
) -> dict[str, Any]:
    def end(_self: Any, **said: Any) -> None:
        raise Ended(**said)

    monkeypatch.setattr(das.AnsibleModule, "run_command", machine.run)
    monkeypatch.setattr(das.AnsibleModule, "exit_json", end)
    monkeypatch.setattr(das.AnsibleModule, "fail_json", lambda self, **said: end(self, failed=True, **said))
    arguments = {
        "devices": list(machine.disks),
        "label": "hapacs-das",
        "wipe_serials": list(wipe),
        "_ansible_check_mode": check_mode,
    }
    with patch_module_args(arguments), pytest.raises(Ended) as ended:
        das.main()
    return ended.value.said


def test_empty_disks_become_a_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(a={}, b={})
    assert apply(machine, monkeypatch) == {"changed": True, "uuid": "0000-1", "wiped": []}
    assert " ".join(machine.made).endswith("--data raid1 --metadata raid1 /dev/a /dev/b")


def test_a_single_disk_keeps_its_metadata_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(a={})
    apply(machine, monkeypatch)
    assert " ".join(machine.made).endswith("--metadata dup /dev/a")


def test_a_second_run_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(a=OURS, b=OURS)
    assert apply(machine, monkeypatch) == {"changed": False, "uuid": "0000-1", "wiped": []}
    assert machine.made == []


def test_check_mode_creates_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(a={}, b={})
    assert apply(machine, monkeypatch, check_mode=True) == {"changed": True, "uuid": "", "wiped": []}
    assert machine.made == []


@pytest.mark.parametrize(
    ("disks", "why"),
    [
        ({"a": {"TYPE": "ext4"}, "b": {}}, "/dev/a holds ext4"),
        ({"a": {"TYPE": "btrfs", "LABEL": "other", "UUID": "9"}, "b": {}}, "/dev/a holds btrfs"),
        ({"a": {"TYPE": "linux_raid_member"}, "b": {}}, "/dev/a holds linux_raid_member"),
        ({"a": {"PTTYPE": "gpt"}, "b": {}}, "/dev/a holds partitions"),
        ({"a": {}, "b": "partitioned"}, "/dev/b holds partitions"),
        ({"a": OURS, "b": {}}, "/dev/b is empty while /dev/a holds online copies"),
        ({"a": OURS, "b": OURS | {"UUID": "0000-2"}}, "different file systems"),
        ({"a": OURS, "b": {"TYPE": "xfs"}}, "/dev/b holds xfs"),
    ],
)
def test_disk_with_content_is_refused(disks: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(**disks)
    said = apply(machine, monkeypatch)
    assert said["failed"]
    assert why in said["msg"]
    assert "Nothing was changed" in said["msg"]
    assert machine.made == []
    assert machine.wiped == []


def test_a_disk_is_emptied_when_its_serial_number_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(a={"TYPE": "ext4"}, b={})
    machine.serials = {"/dev/a": "S1", "/dev/b": "S2"}
    assert apply(machine, monkeypatch, wipe=("S1",)) == {"changed": True, "uuid": "0000-1", "wiped": ["/dev/a"]}
    assert machine.wiped == ["/dev/a"]
    assert machine.made


def test_check_mode_wipes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(a={"TYPE": "ext4"}, b={})
    machine.serials = {"/dev/a": "S1"}
    assert apply(machine, monkeypatch, check_mode=True, wipe=("S1",))["wiped"] == ["/dev/a"]
    assert machine.wiped == []


@pytest.mark.parametrize(
    ("disks", "serials", "wipe"),
    [
        ({"a": {"TYPE": "ext4"}, "b": {"TYPE": "ext4"}}, {"a": "S1", "b": "S2"}, ("S1",)),
        ({"a": {"TYPE": "ext4"}, "b": {}}, {}, ("S1",)),
        ({"a": {"TYPE": "ext4"}, "b": OURS}, {"a": "S1", "b": "S2"}, ("S1", "S2")),
        ({"a": {}, "b": OURS}, {"a": "S1", "b": "S2"}, ("S1", "S2")),
        ({"a": OURS | {"UUID": "0000-2"}, "b": OURS}, {"a": "S1", "b": "S2"}, ("S1", "S2")),
    ],
    ids=["another serial", "no serial", "beside copies", "blank beside copies", "two stores"],
)
def test_disk_is_wiped_only_by_serial_and_never_beside_online_copies(
    disks: dict[str, Any], serials: dict[str, str], wipe: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(**disks)
    machine.serials = {f"/dev/{name}": serial for name, serial in serials.items()}
    assert apply(machine, monkeypatch, wipe=wipe)["failed"]
    assert machine.wiped == []
    assert machine.made == []
