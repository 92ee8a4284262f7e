"""Times of day at which something is allowed, in UTC: ``daily 22:00-04:00``, ``Sun 02:00-04:00``."""

from datetime import datetime, time, timedelta

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
