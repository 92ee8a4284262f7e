"""What is found again in a pack, whole or damaged."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hapacs_node.storage import names
from hapacs_node.storage.packs import Member, members, pack


def packed(*images: bytes) -> tuple[bytes, dict[str, int]]:
    return pack({names.digest_of(image): image for image in images})


def whole(content: bytes) -> list[bytes]:
    """Return the images in a pack that have their digest."""
    parts = [(one.digest, content[one.offset : one.offset + one.length]) for one in members(content)]
    return [part for digest, part in parts if names.digest_of(part) == digest]


@given(st.sets(st.binary(min_size=1, max_size=2000), max_size=6))
def test_a_pack_is_read_as_it_was_written(images: set[bytes]) -> None:
    content, offsets = packed(*images)
    found = list(members(content))
    assert {one.digest: one.offset for one in found} == offsets
    assert sorted(whole(content)) == sorted(images)


@given(
    st.lists(st.binary(min_size=1, max_size=1500), min_size=3, max_size=3, unique=True),
    st.integers(min_value=0, max_value=511),
)
def test_a_damaged_header_loses_only_its_own_image(images: list[bytes], at: int) -> None:
    content, offsets = packed(*images)
    damaged = bytearray(content)
    header = offsets[names.digest_of(images[1])] - tarfile.BLOCKSIZE
    damaged[header : header + tarfile.BLOCKSIZE] = bytes(tarfile.BLOCKSIZE)
    damaged[header + at] = 1
    found = list(members(bytes(damaged)))
    assert whole(bytes(damaged)) == [images[0], images[2]]
    assert [one.offset for one in found if one.digest is None] == [header]


@pytest.mark.parametrize("zeroed", [True, False])
def test_a_pack_whose_end_is_lost_says_so(zeroed: bool) -> None:
    content, offsets = packed(b"first", b"second")
    cut = offsets[names.digest_of(b"second")] - tarfile.BLOCKSIZE
    damaged = content[:cut] + bytes(len(content) - cut) * zeroed
    assert whole(damaged) == [b"first"]
    assert [one for one in members(damaged) if one.digest is None]


def test_a_member_with_another_name_is_no_image() -> None:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as archive:
        member = tarfile.TarInfo("readme.txt")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"alien"))
    assert next(members(output.getvalue())) == Member(None, tarfile.BLOCKSIZE, 5)
