"""Who gets an association, with which presentation contexts, and what ends one (DICOM PS3.8 7.1 and 9.3)."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    generate_uid,
)
from pynetdicom import build_context, build_role

from hapacs_node.dimse import contexts
from tests.support.refusal import refusal
from tests.unit.dimse.archive import CT
from tests.unit.dimse.conftest import FIND, GET, MOVE, WAIT_S, call

type Serve = Callable[..., int]
VERIFICATION, COMMITMENT = "1.2.840.10008.1.1", "1.2.840.10008.1.20.1"


def results(association: Any) -> dict[str, int]:
    return {str(one.abstract_syntax): one.result for one in
            [*association.accepted_contexts, *association.rejected_contexts]}  # fmt: skip


def test_a_caller_gets_what_it_may_do(serve: Serve) -> None:
    association = call(serve(may=frozenset({"echo", "find"})), VERIFICATION, FIND, MOVE, GET, COMMITMENT)
    assert results(association) == {VERIFICATION: 0, FIND: 0, MOVE: 1, GET: 1, COMMITMENT: 3}
    assert association.send_c_echo().Status == 0x0000
    association.release()


def test_storage_contexts_are_accepted_for_c_get_only(serve: Serve) -> None:
    port = serve()
    association = call(port, GET, CT)
    assert results(association) == {GET: 0, CT: 3}
    association.release()
    private = generate_uid()
    roles = [build_role(name, scp_role=True) for name in (CT, private)]
    association = call(port, GET, CT, private, ext_neg=roles)
    assert results(association) == {GET: 0, CT: 0, private: 0}
    assert {str(one.abstract_syntax): one.as_scp for one in association.accepted_contexts}[CT]
    association.release()


@pytest.mark.parametrize(
    ("proposed", "chosen"),
    [
        ([JPEG2000Lossless, ExplicitVRLittleEndian], ExplicitVRLittleEndian),
        ([JPEG2000Lossless], JPEG2000Lossless),
        (["1.2.840.10008.1.2.4.102", ExplicitVRLittleEndian], "1.2.840.10008.1.2.4.102"),
        ([ExplicitVRBigEndian], ExplicitVRBigEndian),
        ([DeflatedExplicitVRLittleEndian, JPEG2000Lossless], JPEG2000Lossless),
        ([], None),
    ],
)
def test_images_come_in_what_most_of_them_can_have(proposed: list[str], chosen: str | None) -> None:
    assert contexts.answer(CT, proposed, {"get"}, {CT})[1] == chosen


@pytest.mark.parametrize(
    ("calling", "called", "answer"), [("NOBODY", "HAPACS_QR", (1, 1, 3)), ("READING", "HAPACS", (1, 1, 7))]
)
def test_unknown_titles_are_rejected(serve: Serve, calling: str, called: str, answer: tuple[int, int, int]) -> None:
    assert refusal("127.0.0.1", calling, called, serve(), WAIT_S) == answer


def test_blanks_around_a_title_have_no_meaning(serve: Serve) -> None:
    """PS3.8 9.3.2: leading and trailing spaces are non-significant."""
    association = call(serve(), VERIFICATION, calling="  READING", called=" HAPACS_QR")
    assert association.is_established
    association.release()


def test_there_are_no_more_associations_than_the_limit(serve: Serve) -> None:
    port = serve(associations=1)
    first = call(port, VERIFICATION)
    assert first.is_established
    assert refusal("127.0.0.1", "READING", "HAPACS_QR", port, WAIT_S) == (2, 3, 2)
    first.release()


def test_a_request_with_all_contexts_and_many_transfer_syntaxes_is_answered(serve: Serve) -> None:
    proposed = [build_context(generate_uid(), [generate_uid() for _ in range(40)]) for _ in range(127)]
    association = call(serve(), VERIFICATION, contexts=proposed)
    assert (len(association.accepted_contexts), len(association.rejected_contexts)) == (1, 127)
    association.release()


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x01\x00\x00\x00\x00\x08garbage!",
        b"\x01\x00\xff\xff\xff\xff",
        b"\x04\x00\x00\x00\x00\x00",
        b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00",
    ],
)
def test_what_is_no_request_is_aborted(serve: Serve, content: bytes) -> None:
    port = serve()
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as connection:
        connection.sendall(content)
        assert connection.recv(6)[:1] in {b"\x07", b""}
    association = call(port, VERIFICATION)
    assert association.is_established
    association.release()


@pytest.mark.parametrize(
    "content",
    [
        # A value longer than its PDU; a data set without a command; a context that was not accepted; no command.
        b"\x00\x00\x00\x20\x01\x03ab",
        b"\x00\x00\x00\x04\x01\x02ab",
        b"\x00\x00\x00\x10\x09\x03" + b"\x00\x00\x00\x01\x02\x00\x00\x00\x30\x00\x00\x00\x00\x00",
        b"\x00\x00\x00\x06\x01\x03abcd",
        b"\x00\x00\x00\x00\x01\x03",
    ],
)
def test_a_message_without_a_meaning_is_aborted(serve: Serve, content: bytes) -> None:
    association = call(serve(), VERIFICATION)
    transport = association.dul.socket
    assert transport is not None
    transport.send(b"\x04\x00" + len(content).to_bytes(4) + content)
    association.join(WAIT_S)
    assert association.is_aborted
