"""Backups: which one is due, and what is measured."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from hapacs.site.backup import TABLES
from tests.unit.ansible.loading import ANSIBLE, load_script

program = load_script("pgbackrest/files/pgbackrest-backup")
sealing = load_script("pgbackrest/files/pgbackrest-seal")
position = load_script("pgbackrest/files/pgbackrest-position")
rehearsal = load_script("pgbackrest/files/pgbackrest-rehearse")


def at(day: int, hour: int, minute: int = 0) -> float:
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC).timestamp()


def backup(kind: str, began: float, *, error: bool = False) -> dict[str, Any]:
    return {"type": kind, "timestamp": {"start": began, "stop": began + 60}, "error": error}


@pytest.mark.parametrize(
    ("backups", "now", "wanted"),
    [
        ([], at(2, 1), "full"),
        ([backup("full", at(1, 2, 5))], at(2, 1, 59), ""),
        ([backup("full", at(1, 2, 5))], at(2, 2), "diff"),
        ([backup("full", at(1, 2, 5)), backup("diff", at(2, 2, 9))], at(2, 23), ""),
        ([backup("full", at(1, 2, 5)), backup("diff", at(2, 2, 9), error=True)], at(2, 23), "diff"),
        ([backup("full", at(1, 2, 9)), backup("diff", at(7, 2))], at(8, 2, 1), "full"),
        ([backup("full", at(1, 14)), backup("diff", at(7, 2))], at(8, 2, 1), "full"),
        ([backup("full", at(1, 14))], at(7, 2, 1), "diff"),
        ([backup("full", at(1, 2), error=True)], at(1, 3), "full"),
    ],
)
def test_backup_that_is_due(backups: list[dict[str, Any]], now: float, wanted: str) -> None:
    assert program.due(backups, 2, now) == wanted


def configured(tmp_path: Path, *hosts: str) -> dict[str, str]:
    lines = [
        "[global]",
        "repo1-path=/r",
        "tls-server-auth=db1=x",
        "tls-server-auth=db2=x",
        "[other]",
        "pg1-host=192.0.2.9",
        "[x]",
        "repo1-retention-full=2",
    ]
    for number, host in enumerate(hosts, 1):
        lines += [f"pg{number}-path=/p", f"pg{number}-host={host}", f"pg{number}-host-port=8432"]
    (tmp_path / "backup.conf").write_text("\n".join(lines) + "\n")
    settings: dict[str, str] = program.stanza_settings(str(tmp_path / "backup.conf"), "x")
    return settings


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Addresses that do not answer."""
    found: set[str] = set()

    def connect(address: tuple[str, int], _within_s: float) -> socket.socket:
        assert address[1] == 8432
        if address[0] in found:
            raise TimeoutError("timed out")
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", connect)
    return found


def test_backup_asks_the_database_nodes_that_answer(
    tmp_path: Path, off: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = configured(tmp_path, "192.0.2.1", "192.0.2.2", "192.0.2.3")
    assert settings["repo1-path"] == "/r"
    assert program.members(settings) == [], "pgBackRest finds all of them by itself"
    off.add("192.0.2.1")
    words = program.members(settings)
    assert words[:2] == ["--pg1-host=192.0.2.2", "--pg2-host=192.0.2.3"]
    assert words[2:] == ["--reset-pg3-path", "--reset-pg3-host", "--reset-pg3-host-port"]
    assert "event=database_node_left_out address=192.0.2.1 reason=timed out" in capsys.readouterr().err
    off |= {"192.0.2.2", "192.0.2.3"}
    with pytest.raises(ConnectionError, match=r"no database node answers: 192\.0\.2\.1, .*\.2, .*\.3"):
        program.members(settings)


def test_backup_without_any_database_node_fails_with_that_reason(
    tmp_path: Path, off: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configured(tmp_path, "192.0.2.1")
    off.add("192.0.2.1")
    (tmp_path / "stanzas").write_text("x 2\n")
    monkeypatch.setattr(program, "pgbackrest", lambda *_words: "[]")
    assert program.main(str(tmp_path / "backup.conf"), str(tmp_path / "stanzas")) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "event=backup_failed stanza=x reason=no database node answers: 192.0.2.1"


SEGMENT = 16 << 20
FIRST = "000000010000000000000005"
ARCHIVE = {"database": {"id": 1}, "id": "17-1", "max": "000000020000000000000009"}


def whole(kind: str, stopped: float, first: str = FIRST, *, error: bool = False) -> dict[str, Any]:
    return backup(kind, stopped - 60, error=error) | {"database": {"id": 1}, "archive": {"start": first}}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """WAL of a backup from segment 5 to 9 over a change of the timeline, without segment 7; and half of segment A."""
    for timeline, number, end in ((1, 5, ""), (1, 6, ""), (1, 8, ".partial"), (2, 8, ""), (2, 9, ""), (2, 10, ".tmp")):
        directory = tmp_path / "17-1" / f"{timeline:08X}00000000"
        directory.mkdir(parents=True, exist_ok=True)
        name = f"{timeline:08X}00000000{number:08X}"
        ending = "-12ab.zst.pgbackrest.tmp" if end == ".tmp" else f"{end}-12ab.zst"
        (directory / f"{name}{ending}").touch()
    (tmp_path / "17-1" / "00000002.history").touch()
    return tmp_path


def test_segments_follow_each_other_over_files_and_timelines() -> None:
    assert sealing.number("000000010000000000000001") == 1
    assert sealing.number("0000000100000001000000FF") + 1 == sealing.number("000000020000000200000000")


def test_gap_in_the_wal_is_counted_since_the_newest_backup(archive: Path) -> None:
    assert sealing.segments(archive / "17-1") == {5, 6, 8, 9}
    stanza = {"archive": [ARCHIVE], "backup": [whole("full", 100)]}
    assert sealing.missing(stanza, archive) == 1
    stanza["backup"].append(whole("diff", 900, "000000020000000000000008", error=True))
    assert sealing.missing(stanza, archive) == 1, "a damaged backup closes no gap"
    stanza["backup"].append(whole("diff", 1000, "000000020000000000000008"))
    assert sealing.missing(stanza, archive) == 0


def test_archive_before_the_first_backup_has_no_gap(archive: Path) -> None:
    assert sealing.missing({"archive": [ARCHIVE], "backup": []}, archive) == 0
    assert sealing.missing({"name": "lab-dr"}, archive) == 0


def test_stanza_without_a_backup_has_metrics_too() -> None:
    backups = [whole("full", 100), whole("diff", 960, error=True)]
    of_former = {"database": {"id": 0}, "id": "17-0", "max": "0000000100000001000000FF"}
    said = sealing.metrics(
        {"name": "x", "backup": backups, "archive": [ARCHIVE, of_former]}, 3, {"ended": 5.0, "seconds": 2}
    )
    assert dict(line.rsplit(" ", 1) for line in said.splitlines()) == {
        'hapacs_backup_ended_time_seconds{stanza="x"}': "100",
        'hapacs_backup_archived_bytes{stanza="x"}': str(10 * SEGMENT),
        'hapacs_backup_missing_segments{stanza="x"}': "3",
        'hapacs_backup_restored_time_seconds{stanza="x"}': "5.0",
        'hapacs_backup_restore_seconds{stanza="x"}': "2",
    }
    said = sealing.metrics({"name": "x"}, 0, {"ended": 0, "seconds": 0})
    assert {line.rsplit(" ", 1)[1] for line in said.splitlines()} == {"0"}


def test_report_of_a_restore_gives_two_numbers_or_nothing(tmp_path: Path) -> None:
    report, nothing = tmp_path / "restored-x.json", {"ended": 0, "seconds": 0}
    assert sealing.restored(report) == nothing
    report.write_text(json.dumps({"ended": 7, "recovered_s": 2.5}))
    assert sealing.restored(report) == {"ended": 7, "seconds": 2.5}
    for text in ("[]", "{}", '{"ended": "x\\n", "recovered_s": 1}', "no JSON"):
        report.write_text(text)
        assert sealing.restored(report) == nothing, text
    other = tmp_path / "other"
    other.write_text(json.dumps({"ended": 7, "recovered_s": 2.5}))
    report.unlink()
    report.symlink_to(other)
    assert sealing.restored(report) == nothing, "a link could lead anywhere"


class Ends:
    """A database and a repository that answer what they are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, textfile: Path) -> None:
        self.written, self.info = "", json.dumps([{"archive": [ARCHIVE]}])
        self._textfile = textfile
        monkeypatch.setattr(position, "asked", self._asked)

    def _asked(self, *command: str) -> str:
        if command[0] == "psql":
            return self.written
        if not self.info:
            raise subprocess.CalledProcessError(103, command)
        return self.info

    def metrics(self) -> dict[str, int]:
        """Run the program, and return what the node exporter would read."""
        position.main("/etc/pgbackrest/database.conf", "x", str(self._textfile))
        text = self._textfile.read_text() if self._textfile.exists() else ""
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return {line.split("{")[0].removeprefix("hapacs_backup_"): int(line.rsplit(" ", 1)[1]) for line in lines}


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ends:
    return Ends(monkeypatch, tmp_path / "position.prom")


def test_leader_compares_its_position_with_the_repositorys(ends: Ends) -> None:
    ends.written = str(10 * SEGMENT + 77)
    assert ends.metrics() == {"newest_bytes": 10 * SEGMENT, "behind_bytes": 77}
    ends.written = str(10 * SEGMENT - 5)
    assert ends.metrics()["behind_bytes"] == 0, "the segment was switched after the question"


def test_distance_grows_while_the_repository_is_silent(ends: Ends) -> None:
    ends.written = str(10 * SEGMENT)
    ends.metrics()
    ends.info, ends.written = "", str(13 * SEGMENT)
    assert ends.metrics() == {"newest_bytes": 10 * SEGMENT, "behind_bytes": 3 * SEGMENT}


def test_former_leader_has_no_position(ends: Ends) -> None:
    ends.written = str(10 * SEGMENT)
    ends.metrics()
    ends.written = ""
    assert ends.metrics() == {}


def test_no_position_before_the_first_backup(ends: Ends) -> None:
    ends.written = "5"
    ends.info = json.dumps([{"archive": []}])
    assert ends.metrics() == {}
    ends.info = ""
    assert ends.metrics() == {}


def test_cluster_that_was_made_again_is_compared_with_its_own_wal(ends: Ends) -> None:
    again = {"database": {"id": 2}, "id": "17-2", "max": "000000010000000000000001"}
    ends.info, ends.written = json.dumps([{"archive": [ARCHIVE, again]}]), str(3 * SEGMENT)
    assert ends.metrics() == {"newest_bytes": 2 * SEGMENT, "behind_bytes": SEGMENT}


@pytest.mark.parametrize(
    ("kept", "backups", "wanted"),
    [
        ({}, [{"error": False}], True),
        ({}, [], False),
        ({}, [{"error": True}], False),
        ({"ended": 0}, [{"error": False}], True),
        ({"ended": time.time() - 6 * 86400}, [{"error": False}], False),
    ],
)
def test_restore_is_rehearsed_once_a_week(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept: dict[str, float], backups: list[Any], wanted: bool
) -> None:
    if kept:
        (tmp_path / "restored-x.json").write_text(json.dumps(kept))
    monkeypatch.setattr(rehearsal, "run", lambda _: json.dumps([{"backup": backups}]))
    assert rehearsal.due(tmp_path, "/etc/pgbackrest/backup.conf", "x") is wanted


def test_both_rehearsals_count_the_same_tables() -> None:
    variables = yaml.safe_load((ANSIBLE / "playbooks/group_vars/all/pgbackrest.yml").read_text(encoding="utf-8"))
    assert {name: tuple(tables) for name, tables in variables["pgbackrest_counted"].items()} == TABLES
