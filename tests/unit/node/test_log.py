import pytest
from hypothesis import given
from hypothesis import strategies as st

from hapacs_node import log


@given(st.text())
def test_an_event_stays_one_line_whatever_is_in_it(text: str) -> None:
    line = log.line("event", field=text)
    assert line.isprintable()
    assert line.startswith("event field=")


@pytest.mark.parametrize(
    ("value", "shown"),
    [("plain", "plain"), (3, "3"), ("", '""'), ("two words", '"two words"'), ('a"b', '"a\\"b"'), ("a\nb", '"a b"')],
)
def test_values_are_quoted_when_they_need_it(value: object, shown: str) -> None:
    assert log.line("event", field=value) == f"event field={shown}"
