"""A calendar month in UTC, as far as it has passed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hapacs.errors import UsageError

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Month:
    """A month.

    Attributes
    ----------
    name
        As ``2026-11``.
    begin, end
        From its first moment to that of the next month, or to the last full hour of one that goes on.
    complete
        Whether it is over.
    """

    name: str
    begin: datetime
    end: datetime
    complete: bool

    @property
    def hours(self) -> int:
        """How many hours it has so far."""
        return (self.end - self.begin) // HOUR

    def holds(self, moment: datetime) -> bool:
        """Return whether a moment lies in it."""
        return self.begin <= moment < self.end


def month(name: str, now: datetime) -> Month:
    """Return a month by its name.

    Raises
    ------
    UsageError
        When there is no such month, or no full hour of it has passed.
    """
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", name) or name < "1970":
        raise UsageError(f"{name!r} is no month.", "Give it as --month 2026-11.")
    begin = datetime.fromisoformat(f"{name}-01").replace(tzinfo=UTC)
    after = (begin + timedelta(days=31)).replace(day=1)
    passed = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if passed <= begin:
        raise UsageError(f"No full hour of {name} has passed.", "Give an earlier month.")
    return Month(name, begin, min(after, passed), after <= passed)


def last(now: datetime) -> str:
    """Return the name of the last month that is over."""
    return f"{now.astimezone(UTC).replace(day=1) - timedelta(days=1):%Y-%m}"
