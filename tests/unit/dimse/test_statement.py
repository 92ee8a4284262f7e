"""The query/retrieve title does what the conformance statement says: classes, transfer syntaxes, keys and statuses."""

from collections.abc import Callable
from typing import Any

import pytest
from pydicom._dicom_dict import DicomDictionary
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import build_context

from hapacs_node.query.cfind import Query
from tests.support import received
from tests.unit.dimse.archive import CT, Archive, study
from tests.unit.dimse.conftest import FIND, GET, MOVE, READING, Workstation, call, get, key
from tests.unit.docs import conformance

type Serve = Callable[..., int]
STUDY = "1.2.3"
VERIFICATION = "1.2.840.10008.1.1"
# They say how an identifier is read.
NO_KEYS = {0x00080005, 0x00080052}


def accepted(port: int, *proposed: Any) -> set[tuple[str, str]]:
    """Propose contexts beside Verification; return the classes and transfer syntaxes of those that are accepted."""
    found: set[tuple[str, str]] = set()
    for at in range(0, len(proposed), 100):
        association = call(port, VERIFICATION, contexts=proposed[at : at + 100])
        found |= {(str(one.abstract_syntax), str(one.transfer_syntax[0])) for one in association.accepted_contexts}
        association.release()
    return found


def said(table: str, column: int = 0, operation: str = "") -> set[str]:
    return {row[column] for row in conformance.rows(table) if operation in row[1]}


def test_the_classes_are_those_of_the_statement(serve: Serve) -> None:
    every = {uid for uid, (_, kind, *_) in UID_dictionary.items() if kind in {"SOP Class", "Meta SOP Class"}}
    proposed = [build_context(uid, ExplicitVRLittleEndian) for uid in sorted(every - {VERIFICATION})]
    assert {name for name, _ in accepted(serve(), *proposed)} == said("query-classes", 1)


def test_identifiers_have_the_transfer_syntaxes_of_the_statement(serve: Serve) -> None:
    proposed = [build_context(FIND, syntax) for syntax in received.transfer_syntaxes()]
    taken = accepted(serve(), *proposed)
    assert {syntax for name, syntax in taken if name == FIND} == said("identifiers", 1)


def test_the_implementation_is_that_of_the_statement(serve: Serve) -> None:
    association = call(serve(), VERIFICATION)
    peer = association.acceptor
    association.release()
    found = [peer.implementation_class_uid, peer.implementation_version_name, peer.maximum_length]
    assert [row[1] for row in conformance.rows("entities")] == [str(one) for one in found]


def test_the_keys_that_are_matched_are_those_of_the_statement() -> None:
    tags = [tag for tag in DicomDictionary if tag not in NO_KEYS]
    ignored = Query.of({(0x00080052,): "STUDY", **{(tag,): "1" for tag in tags}}, 1).ignored
    matched = {f"{tag:08X}" for tag in tags} - {f"{path[0]:08X}" for path in ignored}
    assert matched == {row[2] for row in conformance.rows("keys") if row[4] != "none, returned"}


@pytest.mark.parametrize("row", [row for row in conformance.rows("keys") if row[3] != "SQ"], ids=lambda row: row[2])
def test_a_key_is_matched_as_the_statement_says(row: list[str]) -> None:
    tag, how = int(row[2], 16), row[4]
    values = {"list": "20240101\\20240102", "range": "20240101-20240102", "wildcard": "A*"}
    found = set()
    for kind, value in values.items():
        for one in Query.of({(0x00080052,): "STUDY", (tag,): value}, 1).search.criteria:
            is_range = one.span is not None and one.span[0][:8] != one.span[1][:8]
            if {"list": len(one.values) > 1, "range": is_range, "wildcard": one.wild}[kind]:
                found.add(kind)
    assert found == {kind for kind in values if kind in how}


def test_the_statuses_of_c_find_are_those_of_the_statement(archive: Archive, serve: Serve) -> None:
    seen: set[int] = set()
    port = serve(results=2000)

    def find(*, cancel: bool = False, level: str = "STUDY", **keys: object) -> None:
        association = call(port, FIND)
        for status, _ in association.send_c_find(key(level, StudyInstanceUID="", **keys), FIND, msg_id=3):
            if cancel and status.Status == 0xFF00:
                association.send_c_cancel(3, query_model=FIND)
                cancel = False
            seen.add(status.Status)
        association.release()

    archive.found = [study("1.2.3")]
    find()
    find(RequestedContrastAgent="none")
    find(level="ROOM")
    archive.found = [study(f"1.2.{number}") for number in range(2000)]
    find(cancel=True)
    port = serve(results=1)
    find()
    archive.down = True
    find()
    assert {f"{status:04X}" for status in seen} == said("find-statuses")


def test_the_statuses_of_c_move_are_those_of_the_statement(
    archive: Archive, serve: Serve, receive: Serve, workstation: Workstation
) -> None:
    seen: set[int] = set()
    port = serve(receive((CT, ExplicitVRLittleEndian)))
    association = call(port, MOVE)

    def ask(identifier: Any, destination: str = READING) -> None:
        seen.update(one.Status for one, _ in association.send_c_move(identifier, destination, MOVE, msg_id=1))

    def cancel(_: Any) -> int:
        if len(workstation.requests) == sent:
            association.send_c_cancel(1, query_model=MOVE)
        return 0

    images = [archive.add(STUDY) for _ in range(6)]
    whole = key("STUDY", StudyInstanceUID=STUDY)
    ask(whole)
    ask(whole, "NOBODY")
    ask(key("ROOM"))
    sent, workstation.answers = len(workstation.requests), cancel
    ask(whole)
    archive.lose(images[0])
    workstation.answers = lambda _: 0
    ask(whole)
    workstation.answers = lambda _: 0xA700
    ask(whole)
    archive.down = True
    ask(whole)
    association.release()
    assert {f"{status:04X}" for status in seen} == said("retrieve-statuses", operation="C-MOVE")


def test_the_statuses_of_c_get_are_those_of_the_statement(archive: Archive, serve: Serve) -> None:
    seen: set[int] = set()
    port = serve()

    def ask(identifier: Any, on_store: Callable[[Any], int] = lambda _: 0) -> None:
        proposed = [(CT, [ExplicitVRLittleEndian])]
        seen.add(get(port, identifier, proposed, on_store)[0].Status)

    def cancel(event: Any) -> int:
        event.assoc.send_c_cancel(1, query_model=GET)
        return 0

    images = [archive.add(STUDY) for _ in range(3)]
    whole = key("STUDY", StudyInstanceUID=STUDY)
    ask(whole)
    ask(whole, cancel)
    ask(whole, lambda _: 0xA700)
    ask(key("ROOM"))
    archive.lose(images[0])
    ask(whole)
    archive.down = True
    ask(whole)
    # Pending comes before the last response.
    expected = said("retrieve-statuses", operation="C-GET") - {"FF00"}
    assert {f"{status:04X}" for status in seen} == expected
