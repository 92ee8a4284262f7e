"""The maintenance window in which drills may run."""

from __future__ import annotations

from datetime import UTC, datetime, time

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def contains(window: str, now: datetime) -> bool:
    """Return whether a moment lies in a window.

    Parameters
    ----------
    window
        As the setting `drills.window`: a day or ``daily``, and two times in UTC. A window that ends before it begins
        goes over midnight; its day is that of its beginning.
    now
        With a time zone.
    """
    day, _, times = window.partition(" ")
    begin, end = (time.fromisoformat(text) for text in times.split("-"))
    moment = now.astimezone(UTC)
    at, today = moment.time(), _DAYS[moment.weekday()]
    yesterday = _DAYS[moment.weekday() - 1]
    if begin < end:
        return begin <= at < end and day in {"daily", today}
    return (at >= begin and day in {"daily", today}) or (at < end and day in {"daily", yesterday})
