import pytest
from hypothesis import given
from hypothesis import strategies as st

from hapacs_node import log


@given(st.text())
def test_an_event_is_one_line_for_any_value(text: str) -> None:
    line = str(log.line("stored", field=text))
    assert line.isprintable()
    assert line.startswith("event=stored field=")


@pytest.mark.parametrize(
    ("value", "shown"),
    [("plain", "plain"), (3, "3"), ("", '""'), ("two words", '"two words"'), ('a"b', '"a\\"b"'), ("a\nb", '"a b"')],
)
def test_values_are_quoted_when_they_need_it(value: object, shown: str) -> None:
    assert str(log.line("stored", field=value)) == f"event=stored field={shown}"


def test_fields_without_a_value_are_omitted() -> None:
    assert str(log.line("stored", caller=None, size=0)) == "event=stored size=0"
