"""Which volumes a node reads again, and what it keeps of that."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ansible.loading import load_script

scrub = load_script("seaweedfs/files/seaweedfs-scrub")
NOW = datetime.now(UTC)


def last(days: float, *, damaged: bool = False) -> dict[str, Any]:
    return {"read_at": (NOW - timedelta(days=days)).isoformat(), "damaged": damaged}


def test_damaged_volumes_come_first_then_new_ones_then_the_oldest() -> None:
    known = {"1": last(40), "2": last(50), "3": last(1), "4": last(1, damaged=True)}
    assert scrub.due(["1", "2", "3", "4", "5"], known, NOW - timedelta(days=30)) == ["4", "5", "2", "1"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run the program with volumes 1 to 3, some of them damaged or unreadable; return the result."""
    file = tmp_path / "replicas.json"

    def of(*, damaged: str = "", unread: str = "", removable: str = "", minutes: str = "1") -> dict[str, Any]:
        def is_whole(_: str, __: str, volume: str) -> bool:
            if volume in unread.split():
                raise scrub.ScrubError(f"volume {volume} was not read")
            return volume not in damaged.split()

        monkeypatch.setattr(scrub, "volumes", lambda _: ["1", "2", "3"])
        monkeypatch.setattr(scrub, "is_whole", is_whole)
        monkeypatch.setattr(scrub, "removed", lambda _, __, volume: volume in removable.split())
        words = ["seaweedfs-scrub", "192.0.2.1", "192.0.2.1:9333", str(file), "--minutes", minutes, "--days", "30"]
        monkeypatch.setattr("sys.argv", words)
        assert scrub.main() == 0
        found: dict[str, Any] = json.loads(file.read_bytes())
        return found

    return of


def test_result_names_what_is_damaged_until_it_is_whole(run: Callable[..., dict[str, Any]]) -> None:
    first = run(damaged="2")
    assert (first["open"], first["failure"], set(first["volumes"])) == (1, None, {"1", "2", "3"})
    second = run()
    assert second["open"] == 0
    # The whole ones were not read again.
    assert second["volumes"]["1"] == first["volumes"]["1"]
    assert second["volumes"]["2"] != first["volumes"]["2"]


def test_replica_that_was_removed_is_read_again_when_it_is_made_again(run: Callable[..., dict[str, Any]]) -> None:
    first = run(damaged="2", removable="2")
    assert (first["open"], set(first["volumes"])) == (0, {"1", "3"})
    assert set(run()["volumes"]) == {"1", "2", "3"}


def test_time_that_is_used_up_ends_a_run(run: Callable[..., dict[str, Any]]) -> None:
    assert run(minutes="-1")["volumes"] == {}


def test_failure_is_kept_with_what_was_known(run: Callable[..., dict[str, Any]]) -> None:
    run(damaged="2")
    result = run(unread="2")
    assert result["failure"] == "volume 2 was not read"
    assert (result["open"], set(result["volumes"])) == (1, {"1", "2", "3"})


@pytest.mark.parametrize(
    ("code", "output"),
    [
        (0, "error: no leader"),
        (1, "Scrubbed 5 files and 1 volumes on 1 nodes"),
        (0, "Scrubbed 0 files and 0 volumes on 1 nodes"),
    ],
)
def test_answer_that_does_not_say_that_the_volume_was_read_is_a_failure(
    code: int, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], code, output, ""))
    with pytest.raises(scrub.ScrubError, match=r"volume\.scrub -node .* -volumeId 7 -details` failed"):
        scrub.is_whole("192.0.2.1", "192.0.2.1:9333", "7")


HERE, THERE = "192.0.2.1", "192.0.2.2"
WHOLE = "Scrubbed 5 files and 1 volumes on 1 nodes"
DAMAGED = f"{WHOLE}\nAffected volumes: 7\nDetails:\nneedle 3: CRC error"


def entries(first: str, second: str, missed: int = 0, deleted: int = 0) -> str:
    """Return a line of `volume.check.disk`."""
    counts = f"missed {missed} and partially deleted {deleted} entries"
    return f"volume 7 {first}:8080 has 171 entries, {second}:8080 {counts}"


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Answer the shell's commands as told; the list has those that were given."""

    def of(compared: list[str], other: str = WHOLE) -> list[str]:
        given: list[str] = []

        def answer(*_: object, **options: Any) -> subprocess.CompletedProcess[str]:
            _, command, _ = options["input"].splitlines()
            given.append(command)
            printed = {"volume.check.disk": "\n".join(["Pass #1 (writable volumes)", *compared]), "volume.scrub": other}
            return subprocess.CompletedProcess([], 0, printed.get(command.split()[0], ""), "")

        monkeypatch.setattr(subprocess, "run", answer)
        return given

    return of


def test_damaged_replica_is_removed_when_the_other_was_read_and_lacks_nothing(
    shell: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrub, "HEARD_S", 0)
    given = shell([entries(HERE, THERE), entries(THERE, HERE, missed=2)])
    assert scrub.removed(HERE, f"{HERE}:9333", "7")
    assert given[1:] == [
        f"volume.scrub -node {THERE}:8080 -volumeId 7 -details",
        f"volume.delete -node {HERE}:8080 -volumeId 7",
        "volume.fix.replication -apply",
    ]
    assert f"event=replica_removed volume=7 node={HERE} whole_on={THERE}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("compared", "other", "why"),
    [
        ([], WHOLE, "no other server has the volume"),
        # Another volume, and another pair.
        (
            [entries("192.0.2.11", THERE), entries(HERE, THERE).replace("volume 7", "volume 17")],
            WHOLE,
            "no other server",
        ),
        ([entries(HERE, THERE, missed=1)], WHOLE, "others lack entries"),
        ([entries(HERE, THERE, deleted=1)], WHOLE, "others lack entries"),
        ([entries(HERE, THERE), entries(HERE, "192.0.2.3", missed=1)], WHOLE, "others lack entries"),
        ([entries(HERE, THERE)], DAMAGED, "another replica is damaged too"),
    ],
)
def test_damaged_replica_is_left_when_bytes_could_be_lost(
    shell: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], compared: list[str], other: str, why: str
) -> None:
    given = shell(compared, other)
    assert not scrub.removed(HERE, f"{HERE}:9333", "7")
    assert not any(command.startswith("volume.delete") for command in given)
    assert why in capsys.readouterr().err
