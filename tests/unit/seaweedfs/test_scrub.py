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

    def of(*, damaged: str = "", unread: str = "", minutes: str = "1") -> dict[str, Any]:
        def is_whole(_: str, __: str, volume: str) -> bool:
            if volume in unread.split():
                raise scrub.ScrubError(f"volume {volume} was not read")
            return volume not in damaged.split()

        monkeypatch.setattr(scrub, "volumes", lambda _: ["1", "2", "3"])
        monkeypatch.setattr(scrub, "is_whole", is_whole)
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
    with pytest.raises(scrub.ScrubError, match="volume 7 was not read"):
        scrub.is_whole("192.0.2.1", "192.0.2.1:9333", "7")
