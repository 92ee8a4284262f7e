"""Reading of the header Accept."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapacs_node.retrieve.accept import ANY, Range, ranges


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ([], "", (Range(ANY),)),
        ([" "], "", (Range(ANY),)),
        (["image/png;q=0.2, Image/JPEG"], "", (Range("image/jpeg"), Range("image/png"))),
        (["a/b", "c/d"], "", (Range("a/b"), Range("c/d"))),
        (["a/b;q=0, c/d; q=0.000"], "", ()),
        (["a/b;q=x, c/d;q=2"], "", (Range("a/b"), Range("c/d"))),
        (['a/b; type="x,y;z" ;q=0.5; , c/d'], "", (Range("c/d"), Range("a/b", {"type": "x,y;z"}))),
        (["a/b"], "accept=c/d%2Ce/f&x=1", (Range("c/d"), Range("e/f"))),
        (["no range, ,;, a/b"], "", (Range("a/b"),)),
    ],
)
def test_ranges_are_read_the_best_first(headers: list[str], query: str, expected: tuple[Range, ...]) -> None:
    assert ranges(headers, query) == expected


@settings(deadline=None, max_examples=50)
@given(st.text(alphabet='a/*;=q0.1," \t', max_size=60))
def test_any_text_is_read(text: str) -> None:
    assert all("/" in one.type for one in ranges([text]))


# A pattern that backtracks would take minutes for each.
@pytest.mark.parametrize(
    "text", ["," * 60_000, '",' * 30_000, "a/b" + " " * 60_000 + "x", "a/b;" * 15_000, "a/b; c" * 9_000]
)
def test_a_long_header_without_a_range_accepts_nothing(text: str) -> None:
    assert not ranges([text])
