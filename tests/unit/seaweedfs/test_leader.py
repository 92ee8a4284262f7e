"""The program that keeps the lead where it should be, with a `weed` that answers as the real one does."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import itertools
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "ansible/roles/seaweedfs/files/seaweedfs-leader"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("seaweedfs_leader", str(PROGRAM))
    specification = importlib.util.spec_from_loader(loader.name, loader)
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    loader.exec_module(module)
    monkeypatch.setattr(module, "WEED", str(tmp_path / "weed"))
    monkeypatch.setattr(module, "CONFIGURATION", str(tmp_path))
    return module


@pytest.mark.parametrize(
    ("said", "leads"),
    [
        ("echo Leadership successfully transferred to 10.0.0.1:9333", True),
        # Elected between the look and the request.
        ("echo error: rpc error: leadership transfer failed: cannot transfer leadership to itself >&2; exit 1", True),
        ("echo error: leadership transfer failed: no such peer >&2; exit 1", False),
    ],
)
def test_master_leads_after_transfer_or_when_already_leading(
    program: ModuleType, tmp_path: Path, said: str, leads: bool
) -> None:
    weed = tmp_path / "weed"
    weed.write_text(f"#!/bin/sh\ncat >{tmp_path}/asked\n{said}\n")
    weed.chmod(0o755)
    assert program.take_over("10.0.0.1") is leads
    asked = (tmp_path / "asked").read_text()
    assert asked == "cluster.raft.transferLeader -id 10.0.0.1:9333 -address 10.0.0.1:19333\n"


class EndError(Exception):
    """Ends a watch that has no end."""


def taken_after_s(program: ModuleType, monkeypatch: pytest.MonkeyPatch, counts: Iterable[str]) -> list[float]:
    """Return at which seconds a watch took the lead over, while the database gives these counts and then ends it."""
    clock, taken, answers = [0.0], [], iter(counts)

    def count(_: str) -> str:
        try:
            return next(answers)
        except StopIteration:
            raise EndError from None

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(program, "belongs_here", lambda _: True)
    monkeypatch.setattr(program, "leads", lambda: False)
    monkeypatch.setattr(program, "written", count)
    monkeypatch.setattr(program, "take_over", lambda _: taken.append(clock[0]))
    monkeypatch.setattr(program.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(program.time, "sleep", sleep)
    with pytest.raises(EndError):
        program.watch("10.0.0.1", "https://10.0.0.1:8008/primary")
    return taken


def test_lead_follows_once_nothing_was_written_for_a_minute(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = [str(count) for count in range(20)]
    assert taken_after_s(program, monkeypatch, [*stored, *["20"] * 13]) == [160.0]


@pytest.mark.parametrize("counts", [[str(count // 11) for count in range(200)], [""] * 200, ["7", ""] * 100])
def test_lead_stays_while_images_are_stored_or_the_database_is_silent(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, counts: list[str]
) -> None:
    assert taken_after_s(program, monkeypatch, counts) == []


def test_pause_is_counted_from_the_start_after_a_take_over_that_failed(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert taken_after_s(program, monkeypatch, itertools.repeat("7", 26)) == [60.0, 125.0]


def test_written_objects_are_counted_with_the_filers_own_access(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "filer.toml").write_text(
        """[postgres2]
hostname = "10.0.0.1,10.0.0.2"
port = 5432
username = "cas"
password = "not told"
database = "cas connect_timeout=2"
sslmode = "verify-full"
sslrootcert = "/ca.crt"
sslcert = "/database.crt"
sslkey = "/database.key"
"""
    )
    psql = tmp_path / "psql"
    psql.write_text(f'#!/bin/sh\nenv | grep ^PG >{tmp_path}/access\necho "$@" >{tmp_path}/words\necho 4711\n')
    psql.chmod(0o755)
    monkeypatch.setattr(program, "PSQL", str(psql))
    assert program.written("10.0.0.1") == "4711"
    access = set((tmp_path / "access").read_text().splitlines())
    assert {"PGHOST=10.0.0.1", "PGDATABASE=cas", "PGPASSWORD=not told", "PGSSLMODE=verify-full"} <= access
    assert "not told" not in (tmp_path / "words").read_text()
    psql.write_text("#!/bin/sh\necho 4711\nexit 2\n")
    assert program.written("10.0.0.1") == ""
