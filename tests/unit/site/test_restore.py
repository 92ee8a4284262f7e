"""A restore in place: what it would lose, when it is refused, and what is handed to the playbook."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from hapacs import playbook
from hapacs.cli import backup as command
from hapacs.cli.commands import app
from hapacs.deployment import Deployment
from hapacs.errors import HapacsError, RefusedError, UsageError
from hapacs.site import backup, restore
from hapacs.site.database import Database

TARGET = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = datetime(2026, 3, 2, tzinfo=UTC)
KEEPER = cast("backup.Keeper", SimpleNamespace(site=SimpleNamespace(name="primary"), node=SimpleNamespace(name="dr1")))


def made(ended: datetime, *, error: bool = False) -> dict[str, Any]:
    return {"ended": int(ended.timestamp()), "error": error}


class Asked:
    """Stands for the live database; answers by what a statement is about."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.archived, self.whole = True, True

    def rows(self, statement: str, _timeout_s: float = 60) -> list[str]:
        self.statements.append(statement)
        if "last_archived_time" in statement:
            return ["t" if self.archived else "f"]
        if not self.whole:
            raise HapacsError("relation hapacs.object does not exist")
        return ["7" if "stored_at" in statement else "2"]


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr(Database, "of", lambda _site: asked)
    monkeypatch.setattr(backup, "listed", lambda _keeper: [made(datetime(2026, 3, 1, 2, tzinfo=UTC))])
    return asked


@pytest.mark.parametrize("text", ["yesterday", "", "2026-03-01T12:00:00", "2026-03-03T12:00:00Z"])
def test_time_without_zone_or_in_the_future_is_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        restore.parsed(text, NOW)


def test_time_is_handed_on_in_utc() -> None:
    assert restore.sql_time(restore.parsed("2026-03-01T13:00:00+01:00", NOW)) == "2026-03-01 12:00:00.000000+00"


def test_loss_is_what_was_stored_and_removed_since(live: Asked) -> None:
    assert restore.loss(KEEPER, TARGET) == restore.Loss(answers=True, stored=7, removed=2)
    assert all("'2026-03-01 12:00:00.000000+00'" in one for one in live.statements)


def test_wal_of_the_time_is_archived_first(live: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    live.archived = False
    archived: list[Any] = []
    monkeypatch.setattr(backup, "archive", archived.append)
    restore.loss(KEEPER, TARGET)
    assert archived == [live]


def test_damaged_tables_leave_the_loss_unknown(live: Asked) -> None:
    live.whole = False
    assert restore.loss(KEEPER, TARGET) == restore.Loss(answers=True)


def test_database_that_does_not_answer_leaves_the_loss_unknown(live: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_site: Any) -> None:
        raise HapacsError("No node leads the database.")

    monkeypatch.setattr(Database, "of", nobody)
    assert restore.loss(KEEPER, TARGET) == restore.Loss(answers=False)
    assert live.statements == []


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([], "no whole backup"),
        ([made(TARGET, error=True)], "no whole backup"),
        ([made(datetime(2026, 3, 1, 12, 0, 1, tzinfo=UTC))], "The first possible time is 2026-03-01 12:00:01 UTC"),
    ],
)
def test_time_before_the_first_whole_backup_is_refused(
    live: Asked, monkeypatch: pytest.MonkeyPatch, found: list[dict[str, Any]], says: str
) -> None:
    monkeypatch.setattr(backup, "listed", lambda _keeper: found)
    with pytest.raises(RefusedError, match=says):
        restore.loss(KEEPER, TARGET)
    assert live.statements == []


class Played:
    """Stands for the playbook and the backup after it."""

    def __init__(self, log: Path) -> None:
        self.variables: list[dict[str, Any]] = []
        self.backups: list[str] = []
        self.fails = False
        self._log = log

    def run(self, name: str, **options: Any) -> playbook.Outcome:
        assert name == "restore"
        self.variables.append(options["variables"])
        return playbook.Outcome(self._log, said=["The database of primary is as of then."])

    def now(self, _keeper: Any, kind: str) -> dict[str, Any]:
        self.backups.append(kind)
        if self.fails:
            raise HapacsError("No backup was made.")
        return {"type": kind}


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Played:
    stand = Played(tmp_path / "log")
    deployment = SimpleNamespace(
        require_up=lambda: None, alone=nullcontext, directory=tmp_path, logs=tmp_path, environment=dict
    )
    monkeypatch.setattr(Deployment, "load", lambda _name: deployment)
    monkeypatch.setattr(command, "keeper_of", lambda _name, _site: KEEPER)
    monkeypatch.setattr(restore, "loss", lambda _keeper, _target: restore.Loss(answers=True, stored=7, removed=2))
    monkeypatch.setattr(playbook, "run", stand.run)
    monkeypatch.setattr(backup, "now", stand.now)
    return stand


def call(*words: str) -> Any:
    return CliRunner().invoke(app, ["restore", "lab", *words], env={"COLUMNS": "200"})


def test_consequences_are_named_and_nothing_is_done_without_a_confirmation(played: Played) -> None:
    done = call("--to-time", "2020-01-01T00:00:00Z")
    assert isinstance(done.exception, RefusedError)
    assert "back to 2020-01-01 00:00:00 UTC. It ANSWERS now." in done.output
    assert "7 images were stored since: they are in the archive" in done.output
    assert "2 images were deleted" in done.output
    assert played.variables == []


def test_wrong_word_is_no_confirmation(played: Played) -> None:
    done = call("--to-time", "2020-01-01T00:00:00Z", "--confirm", "lab")
    assert isinstance(done.exception, RefusedError)
    assert played.variables == []


def test_site_is_restored_and_backed_up_at_once(played: Played) -> None:
    done = call("--to-time", "2020-01-01T00:00:00Z", "--confirm", "primary", "--json")
    assert done.exit_code == 0, done.output
    assert played.variables == [
        {"site": "primary", "archive": "current", "to_time": "2020-01-01 00:00:00.000000+00"}
    ]  # fmt: skip
    assert played.backups == ["diff"]
    assert json.loads(done.stdout)["lost"] == {"stored": 7, "removed": 2}


def test_newest_wal_and_the_archives_metadata_on_demand(played: Played) -> None:
    done = call("--yes", "--archive", "restored")
    assert done.exit_code == 0, done.output
    assert played.variables == [{"site": "primary", "archive": "restored"}]
    assert "hapacs rebuild lab --from-archive --site primary" in done.output


def test_backup_that_fails_after_it_is_a_warning(played: Played) -> None:
    played.fails = True
    done = call("--yes")
    assert done.exit_code == 0
    assert "hapacs backup now lab --site primary" in " ".join(done.output.split())


def test_rehearsal_takes_no_time(played: Played) -> None:
    done = call("--rehearse", "--to-time", "2020-01-01T00:00:00Z")
    assert isinstance(done.exception, UsageError)
    assert played.variables == []
