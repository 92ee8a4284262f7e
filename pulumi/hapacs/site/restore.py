"""What a restore of a site's database in place would lose, and whether its backups reach so far."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from hapacs.errors import HapacsError, RefusedError
from hapacs.site import backup
from hapacs.site.database import Database, literal

# Type 1 is a DICOM file (Orthanc, `FileContentType`).
_STORED = "select count(*) from hapacs.object where type = 1 and stored_at > {0} and tombstoned_at is null"
_REMOVED = "select count(*) from hapacs.object where type = 1 and tombstoned_at > {0}"
_ARCHIVED = "select coalesce(last_archived_time > {0}, false) from pg_stat_archiver"
_COUNT_S = 3600


@dataclass(frozen=True)
class Loss:
    """What the live database has and the restored one would not.

    Attributes
    ----------
    answers
        Whether the live database answers.
    stored, removed
        Images that were stored and removed since; None when the live database does not answer.
    """

    answers: bool
    stored: int | None = None
    removed: int | None = None


def parsed(text: str, now: datetime) -> datetime:
    """Return a time that an operator gave.

    Raises
    ------
    RefusedError
        When it is no time of the past, or has no zone.
    """
    try:
        found: datetime | None = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise RefusedError(f"{text!r} is no time with a zone.", "Give one such as 2026-11-30T08:15:00Z.")
    if found >= now:
        raise RefusedError(f"{text} is not in the past.", "Give the last time at which the database was right.")
    return found.astimezone(UTC)


def sql_time(target: datetime) -> str:
    """Return a time as PostgreSQL and pgBackRest take it."""
    return f"{target:%Y-%m-%d %H:%M:%S.%f}+00"


def loss(keeper: backup.Keeper, target: datetime | None) -> Loss:
    """Return what a restore would lose.

    Parameters
    ----------
    target
        None: to the newest WAL.

    Raises
    ------
    RefusedError
        When no backup reaches so far back.
    HapacsError
        When the node that keeps the backups does not answer, or WAL does not arrive there.
    """
    whole = [one for one in backup.listed(keeper) if not one["error"]]
    if not whole:
        raise RefusedError(f"{keeper.node.name} has no whole backup of {keeper.site.name}.", "Nothing can be restored.")
    first = datetime.fromtimestamp(min(one["ended"] for one in whole), UTC)
    if target is not None and target < first:
        raise RefusedError(
            f"No backup of {keeper.site.name} is older than {target:%Y-%m-%d %H:%M:%S} UTC.",
            f"The first possible time is {first:%Y-%m-%d %H:%M:%S} UTC.",
        )
    try:
        database = Database.of(keeper.site)
    except HapacsError:
        return Loss(answers=False)
    if target is None:
        return Loss(answers=True)
    at = f"{literal(sql_time(target))}::timestamptz"
    if database.rows(_ARCHIVED.format(at)) != ["t"]:
        backup.archive(database)
    try:
        stored, removed = (int(database.rows(one.format(at), _COUNT_S)[0]) for one in (_STORED, _REMOVED))
    except HapacsError:
        # The tables may be what is damaged.
        return Loss(answers=True)
    return Loss(answers=True, stored=stored, removed=removed)
