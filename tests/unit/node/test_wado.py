from email import message_from_bytes
from email.policy import HTTP
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapacs_node.catalog.objects import StoredObject
from hapacs_node.catalog.retrieval import Instance, Named
from hapacs_node.errors import RefusedError
from hapacs_node.retrieve import wado
from hapacs_node.retrieve.accept import ranges
from hapacs_node.retrieve.frames import EXPLICIT
from hapacs_node.retrieve.wado import Form

STUDY, SERIES, INSTANCE = "1.2.3", "1.2.3.4", "1.2.3.4.5"


def instance(size: int, syntax: str = "1.2.840.10008.1.2.1") -> Instance:
    return Instance(StoredObject(uuid4(), "ab" * 32, size, 1, "cas", "key", 0, size, "pacs1"), syntax)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"/dicom-web/studies/{STUDY}", Named(STUDY)),
        (f"/dicom-web/studies/{STUDY}/", Named(STUDY)),
        (f"/dicom-web/studies/{STUDY}/series/{SERIES}", Named(STUDY, SERIES)),
        (f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{INSTANCE}", Named(STUDY, SERIES, INSTANCE)),
    ],
)
def test_a_path_names_a_study_a_series_or_an_instance(path: str, expected: Named) -> None:
    assert wado.named(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "/dicom-web/studies",
        f"/dicom-web/studies/{STUDY}/metadata",
        f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{INSTANCE}/frames/1",
        f"/dicom-web/studies/{STUDY}/instances/{INSTANCE}",
        f"/dicom-web/studies/{STUDY}?accept=image/jpeg",
        "/dicom-web/studies/1.2.x",
        f"/dicom-web/studies/{'1' * 65}",
        "/dicom-web/studies/\N{ARABIC-INDIC DIGIT ONE}",
        f"/dicom-web/studies/{STUDY}\n",
        "/../etc/passwd",
        "",
    ],
)
def test_any_other_path_is_refused(path: str) -> None:
    with pytest.raises(RefusedError):
        wado.named(path)


@pytest.mark.parametrize(
    ("accept", "count", "expected"),
    [
        ('multipart/related; type="application/dicom"; transfer-syntax=*', 5, Form(True, ("*",))),
        ('Multipart/Related; Type="Application/DICOM"; Transfer-Syntax="*"', 5, Form(True, ("*",))),
        ("*/*", 1, Form(True, ("*",))),
        ("", 5, Form(True, ("*",))),
        ("multipart/related", 5, Form(True, ("*",))),
        ('multipart/related; type="application/dicom"', 5, Form(True, (EXPLICIT,))),
        ('multipart/related; type="application/dicom"; transfer-syntax=1.2.3', 5, Form(True, ("1.2.3",))),
        ('multipart/related; type="application/dicom";transfer-syntax=1.2.3;q=0.1, */*', 5, Form(True, ("*", "1.2.3"))),
        ("application/dicom", 1, Form(False, (EXPLICIT,))),
        ("application/dicom; transfer-syntax=*", 1, Form(False, ("*",))),
        ("application/dicom; transfer-syntax=*", 2, None),
        ("application/dicom, */*;q=0.2", 2, Form(True, ("*",))),
        ('multipart/related; type="application/octet-stream"; transfer-syntax=*', 5, None),
        ("image/jpeg", 1, None),
        ("*/*;q=0", 1, None),
        ("no range", 1, None),
    ],
)
def test_the_form_is_the_best_that_is_accepted(accept: str, count: int, expected: Form | None) -> None:
    assert wado.form(ranges([accept]), count) == expected


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=6))
def test_the_parts_of_an_answer_are_the_instances(contents: list[bytes]) -> None:
    frame = wado.Multipart.of([instance(len(content)) for content in contents])
    pieces = [part for head, content in zip(frame.heads, contents, strict=True) for part in (head, content)]
    body = b"".join([*pieces, frame.tail])
    assert len(body) == frame.length
    message = message_from_bytes(f"Content-Type: {frame.content_type}\r\n\r\n".encode() + body, policy=HTTP)
    assert message.get_content_type() == "multipart/related"
    assert message.get_param("type") == "application/dicom"
    assert message.get_boundary() == frame.boundary
    # The bytes between the boundaries, cut by hand because a mail parser changes line ends.
    parts = body.split(f"--{frame.boundary}".encode())[1:-1]
    assert [part.split(b"\r\n\r\n", 1)[1][:-2] for part in parts] == contents


def test_each_part_has_its_transfer_syntax_and_length() -> None:
    frame = wado.Multipart.of([instance(7), instance(8, "1.2.840.10008.1.2.4.90"), instance(9, "")])
    first, second, third = (head.decode().splitlines() for head in frame.heads)
    assert "Content-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1" in first
    assert "Content-Length: 7" in first
    assert "Content-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90" in second
    assert "Content-Type: application/dicom" in third


def test_a_transfer_syntax_can_not_inject_a_header() -> None:
    frame = wado.Multipart.of([instance(7, "1.2\r\nSet-Cookie: x=y")])
    assert b"Set-Cookie" not in frame.heads[0]
