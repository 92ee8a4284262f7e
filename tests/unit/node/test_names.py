import hashlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hapacs_node.errors import RefusedError
from hapacs_node.storage import names

_DIGESTS = st.binary(max_size=64).map(lambda content: hashlib.sha256(content).hexdigest())


@given(_DIGESTS)
def test_keys_and_paths_end_in_the_digest_below_their_root(digest: str) -> None:
    assert names.cas_key(digest) == f"sha256/{digest[:2]}/{digest[2:4]}/{digest}"
    path = names.das_path(digest)
    assert path == ("sha256", digest[:2], digest[2:4], digest)
    assert not {".", "..", ""} & set(path)


@given(_DIGESTS)
def test_a_spare_key_begins_with_the_key_and_is_unique(digest: str) -> None:
    one, other = names.spare_key(digest), names.spare_key(digest)
    assert one != other
    assert all(key.startswith(f"{names.cas_key(digest)}.") for key in (one, other))


@given(_DIGESTS, _DIGESTS)
def test_different_digests_never_share_a_name(one: str, other: str) -> None:
    assert (names.cas_key(one) == names.cas_key(other)) == (one == other)
    assert (names.das_path(one) == names.das_path(other)) == (one == other)


@given(st.uuids())
def test_a_derived_attachment_never_collides_with_an_object(uuid: UUID) -> None:
    path = names.derived_path(uuid)
    assert path[0] == "derived"
    assert path[-1] == str(uuid)
    assert all("/" not in part and part not in {"", ".", ".."} for part in path)


@given(st.text(max_size=80))
def test_a_text_that_is_no_digest_never_becomes_a_name(text: str) -> None:
    if len(text) == 64 and set(text) <= set("0123456789abcdef"):
        assert names.checked_digest(text) == text
        return
    for function in (names.checked_digest, names.cas_key, names.das_path):
        with pytest.raises(RefusedError):
            function(text)


@pytest.mark.parametrize("text", ["A" * 64, "a" * 63, "a" * 64 + "\n", "../" + "a" * 61, "", "a" * 65])
def test_texts_similar_to_a_digest_are_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        names.checked_digest(text)


@given(st.uuids())
def test_orthancs_names_are_uuids(uuid: UUID) -> None:
    assert names.checked_uuid(str(uuid)) == uuid


@pytest.mark.parametrize(
    "text", ["", "../../etc/passwd", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"]
)
def test_other_names_of_attachments_are_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        names.checked_uuid(text)


@given(st.binary(max_size=1000))
def test_the_digest_is_sha256(content: bytes) -> None:
    assert names.digest_of(content) == hashlib.sha256(content).hexdigest()
