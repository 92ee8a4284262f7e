import pytest
from hypothesis import given
from hypothesis import strategies as st

from hapacs.bench.statistics import Series, latency, percentile, ratio

TIMES = st.lists(st.floats(min_value=0.001, max_value=100), min_size=1, max_size=50)


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, percent) for percent in (1, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]
    assert percentile([7.0], 50) == 7.0


@given(TIMES, st.integers(1, 100))
def test_no_more_than_the_percentage_lies_below_a_percentile(values: list[float], percent: int) -> None:
    found = percentile(values, percent)
    assert sum(value <= found for value in values) >= len(values) * percent / 100
    assert sum(value < found for value in values) < len(values) * percent / 100


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_there_is_no_percentile_of_nothing(values: list[float], percent: float) -> None:
    with pytest.raises(ValueError, match="values"):
        percentile(values, percent)


def test_median_is_reported_with_its_noise() -> None:
    series = Series((90.0, 110.0, 100.0))
    assert series.median == 100
    assert series.spread == pytest.approx(0.2)
    assert series.document() == {"median": 100.0, "spread": 0.2, "rounds": [90.0, 110.0, 100.0]}


def test_one_bad_round_does_not_decide_the_ratio() -> None:
    assert ratio(Series((50.0, 51.0, 5.0)), Series((100.0, 100.0, 900.0))) == 0.5


def test_response_times_are_in_milliseconds() -> None:
    assert latency([0.010] * 98 + [0.5, 1.0]) == {"p50": 10.0, "p95": 10.0, "p99": 500.0}
