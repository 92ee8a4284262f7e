"""The description of pixel data, read from pydicom's files and from made ones in both ways."""

import struct
from pathlib import Path

import pytest
from pydicom.data import get_testdata_files

from hapacs_node.retrieve import description
from tests.support.images import ct

FILES = [Path(name) for name in map(str, get_testdata_files()) if Path(name).is_file()]


def walked(content: bytes) -> description.Description | None:
    try:
        return description._walked(content)
    except (struct.error, IndexError, ValueError, KeyError, RecursionError):
        return None


def test_a_file_that_is_walked_over_is_described_as_by_pydicom() -> None:
    both = {
        path.name: (found, description._parsed(path.read_bytes()))
        for path in FILES
        if (found := walked(path.read_bytes())) is not None
    }
    assert {name: pair for name, pair in both.items() if pair[0] != pair[1]} == {}
    # Nearly all files with pixel data: little and big endian, implicit, compressed, with sequences.
    assert len(both) > 80
    assert {found.syntax for found, _ in both.values()} >= {
        "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5",
    }  # fmt: skip


@pytest.mark.parametrize("syntax", [b"1.2.840.10008.1.2\0\0\0", b""])
def test_a_file_that_is_encoded_in_another_way_than_it_says_is_left_to_pydicom(syntax: bytes) -> None:
    content = ct()
    said = b"1.2.840.10008.1.2.1\0"
    assert walked(content) is not None
    changed = content.replace(said, syntax.ljust(len(said), b"\0"), 1)
    assert walked(changed) is None


def test_every_beginning_of_a_file_is_an_error_or_the_same() -> None:
    content = ct(NumberOfFrames=2, PixelData=bytes(1024))
    whole = description._walked(content)
    assert whole is not None
    for length in range(whole.at + 14):
        assert walked(content[:length]) in {None, whole}
    assert walked(content[: whole.at + 3]) is None
