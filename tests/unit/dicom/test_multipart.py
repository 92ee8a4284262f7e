"""Bodies of several parts."""

from __future__ import annotations

import pytest

from hapacs.dicom import multipart


def test_encoded_parts_are_decoded_unchanged() -> None:
    parts = [b"", b"\r\n--", b"one\r\n\r\ntwo", bytes(range(256))]
    content_type, body = multipart.encode(parts, "application/dicom")
    assert content_type.startswith('multipart/related; type="application/dicom"; boundary=')
    assert multipart.decode(content_type, body) == parts


def test_a_preamble_is_no_part() -> None:
    body = b"preamble\r\n--b\r\nContent-Type: x/y\r\n\r\ncontent\r\n--b--"
    assert multipart.decode('multipart/related; boundary="b"', body) == [b"content"]


def test_another_kind_of_answer_is_refused() -> None:
    with pytest.raises(multipart.MultipartError, match="application/json instead of multipart/related"):
        multipart.decode("application/json", b"{}")
