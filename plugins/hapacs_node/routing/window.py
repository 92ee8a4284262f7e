"""Times of day at which something is allowed, in UTC: ``daily 22:00-04:00``, ``Sun 02:00-04:00``."""

from datetime import UTC, datetime, time, timedelta
from functools import cache

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def is_open(window: str, moment: datetime) -> bool:
    """Return whether a moment is in a window. One that ends before it begins lasts until the next day."""
    day, _, hours = window.partition(" ")
    begin, end = (time.fromisoformat(part) for part in hours.split("-"))
    now = moment.time()
    if begin <= end:
        return begin <= now < end and _is_day(day, moment)
    if now >= begin:
        return _is_day(day, moment)
    return now < end and _is_day(day, moment - timedelta(days=1))


def _is_day(day: str, moment: datetime) -> bool:
    return day in {"daily", _DAYS[moment.weekday()]}


@cache
def minutes(window: str | None) -> frozenset[int]:
    """Return the minutes of a week in which a window is open; all of them without a window."""
    monday = datetime(2001, 1, 1, tzinfo=UTC)
    week = range(7 * 24 * 60)
    if window is None:
        return frozenset(week)
    return frozenset(minute for minute in week if is_open(window, monday + timedelta(minutes=minute)))
