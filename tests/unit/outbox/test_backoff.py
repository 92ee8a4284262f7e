from hypothesis import given
from hypothesis import strategies as st

from hapacs_node.outbox.backoff import DESTINATION, IMAGE, Backoff


@given(st.integers(min_value=0, max_value=10**9))
def test_a_pause_is_between_half_of_the_longest_and_the_longest(failures: int) -> None:
    pause = IMAGE.pause_s(failures)
    assert IMAGE.first_s / 2 <= pause <= IMAGE.most_s


def test_pauses_double_up_to_the_limit() -> None:
    longest = [Backoff(5, 300).pause_s(failures, lambda _, high: high) for failures in range(1, 9)]
    assert longest == [5, 10, 20, 40, 80, 160, 300, 300]


def test_pauses_of_equal_failures_differ() -> None:
    assert len({DESTINATION.pause_s(4) for _ in range(20)}) > 1


def test_a_destination_that_is_down_for_days_is_still_tried_every_five_minutes() -> None:
    clock, attempts = 0.0, 0
    while clock < 96 * 3600:
        attempts += 1
        clock += DESTINATION.pause_s(attempts)
    assert attempts > 96 * 3600 / 300
    assert DESTINATION.pause_s(attempts) <= 300
