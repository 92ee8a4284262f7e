from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapacs_node.routing.window import is_open


@pytest.mark.parametrize(
    ("window", "day", "hour", "expected"),
    [
        ("daily 08:00-18:00", 2, 8, True),
        ("daily 08:00-18:00", 2, 18, False),
        ("daily 22:00-04:00", 2, 23, True),
        ("daily 22:00-04:00", 2, 3, True),
        ("daily 22:00-04:00", 2, 4, False),
        # 2 March 2026 is a Monday.
        ("Mon 22:00-04:00", 2, 23, True),
        ("Mon 22:00-04:00", 3, 3, True),
        ("Mon 22:00-04:00", 2, 3, False),
        ("Tue 08:00-18:00", 2, 12, False),
    ],
)
def test_a_window_that_ends_before_it_begins_lasts_until_the_next_day(
    window: str, day: int, hour: int, expected: bool
) -> None:
    assert is_open(window, datetime(2026, 3, day, hour, tzinfo=UTC)) is expected


@settings(deadline=None)
@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 7 * 1440 - 1))
def test_a_daily_window_and_its_complement_are_never_open_together(begin: int, end: int, minute: int) -> None:
    if begin == end:
        return
    moment = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(minutes=minute)
    times = [f"{value // 60:02}:{value % 60:02}" for value in (begin, end)]
    one, other = (is_open(f"daily {first}-{second}", moment) for first, second in (times, times[::-1]))
    assert one is not other
