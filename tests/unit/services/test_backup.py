"""Backups: which one is due, and what is measured."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.ansible.loading import load_script

program = load_script("pgbackrest/files/pgbackrest-backup")
sealing = load_script("pgbackrest/files/pgbackrest-seal")


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


def test_positions_of_wal_follow_each_other_over_files_and_timelines() -> None:
    assert sealing.position("000000010000000000000001") == 2 * (16 << 20)
    assert sealing.position("0000000100000001000000FF") == sealing.position("000000020000000200000000") - (16 << 20)


def test_stanza_without_a_backup_has_metrics_too() -> None:
    found = sealing.metrics(
        [
            {"name": "lab-primary", "backup": [backup("full", 40), backup("diff", 900, error=True)],
             "archive": [{"max": "000000010000000000000001"}, {"max": None}]},
            {"name": "lab-dr"},
        ]
    )  # fmt: skip
    assert 'hapacs_backup_last_seconds{stanza="lab-primary"} 100\n' in found
    assert f'hapacs_backup_archived_bytes{{stanza="lab-primary"}} {32 << 20}\n' in found
    assert 'hapacs_backup_last_seconds{stanza="lab-dr"} 0\n' in found
    assert 'hapacs_backup_archived_bytes{stanza="lab-dr"} 0\n' in found
