"""Writes the tables of the conformance statement from the code and the roles that run."""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml
from pydicom.datadict import dictionary_description
from pydicom.uid import UID

from hapacs import sop_classes
from hapacs_node.commitment import action, copies
from hapacs_node.dimse import accept, answering, contexts, transfer, wire
from hapacs_node.outbox import answers
from hapacs_node.query import attributes, matching
from hapacs_node.query.attributes import Level
from hapacs_node.record.identity import Identity
from hapacs_node.routing import inquiry, transcode
from hapacs_node.stow import store
from tests.support import received

PROJECT = Path(__file__).parents[3]
FILE = PROJECT / "docs/conformance.md"
_TABLE = re.compile(r"(<!-- table: (\S+) -->\n)(.*?)(\n<!-- end -->)", re.DOTALL)
_ROLE = PROJECT / "ansible/roles/orthanc"
# A status that no peer's table has: any other one means the same.
_ANY = 0x0210

type Row = Sequence[object]


def written(text: str) -> str:
    """Return the page with its tables as the code says."""
    return _TABLE.sub(lambda found: "\n".join([found[1], *TABLES[found[2]](), found[4]]), text)


def rows(name: str) -> list[list[str]]:
    """Return the cells of a committed table, without its heading and the marks of code."""
    found = {one[2]: one[3] for one in _TABLE.finditer(FILE.read_text())}
    lines = found[name].strip().splitlines()[2:]
    return [[cell.strip().strip("`") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def _table(heading: Row, body: Iterator[Row]) -> list[str]:
    lines = [heading, ["---"] * len(heading), *body]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def _status(number: int) -> str:
    return f"{number:04X}"


def _named(uid: str) -> tuple[str, str]:
    return UID(uid).name.replace(" (Retired)", ""), f"`{uid}`"


def role(name: str) -> Any:
    """Return a value that the role orthanc gives both services, or one of its defaults."""
    variables = yaml.safe_load((_ROLE / "vars/main.yml").read_text())["__orthanc_common"]
    return {**yaml.safe_load((_ROLE / "defaults/main.yml").read_text()), **variables}[name]


def received_syntaxes() -> list[str]:
    """Return the transfer syntaxes that the storing title takes."""
    patterns = [re.compile(re.escape(one).replace(r"\*", ".*")) for one in role("AcceptedTransferSyntaxes")]
    known = [uid for uid in received.transfer_syntaxes() if uid not in received.UNKNOWN_TO_ORTHANC]
    return [uid for uid in known if any(pattern.fullmatch(uid) for pattern in patterns)]


def _entities() -> list[str]:
    said = [
        ("Implementation Class UID", f"`{accept.IMPLEMENTATION}`"),
        ("Implementation Version Name", f"`{accept.VERSION}`"),
        ("Longest P-DATA-TF received (bytes)", wire.MAXIMUM_PDU),
    ]
    return _table(("", "query title"), iter(said))


def _query_classes() -> list[str]:
    served = ((uid, what) for uid, what in contexts.OPERATIONS.items() if what in contexts.QUERYING)
    return _table(("SOP class", "UID", "operation"), ((*_named(uid), f"C-{what.upper()}") for uid, what in served))


def _identifiers() -> list[str]:
    return _table(("transfer syntax", "UID"), (_named(uid) for uid in sorted(contexts.COMMANDS)))


def _made() -> list[str]:
    return _table(("transfer syntax", "UID"), (_named(uid) for uid in contexts.TARGETS))


def _storage_classes() -> list[str]:
    taken = {uid: name for uid, name in received.storage_classes().items() if uid not in sop_classes.WITHOUT_STUDY}
    return _table(("SOP class", "UID"), ((name, f"`{uid}`") for uid, name in taken.items()))


def _not_stored() -> list[str]:
    names = received.storage_classes()
    return _table(("SOP class", "UID"), ((names[uid], f"`{uid}`") for uid in sorted(sop_classes.WITHOUT_STUDY)))


def _storage_syntaxes() -> list[str]:
    return _table(("transfer syntax", "UID"), (_named(uid) for uid in received_syntaxes()))


def _matching(vr: str) -> str:
    if vr == "SQ":
        return "sequence"
    if vr in matching.RANGES:
        return "single value, list, range"
    kinds = ["single value", "list"] + (["wildcard"] if vr in matching.TEXTS else [])
    return ", ".join(kinds) + (", without case and accents" if vr == "PN" else "")


def _keys() -> list[str]:
    def how(tag: int) -> str:
        searched = tag in attributes.LEVELS or tag in _SEARCHED
        return _matching(attributes.vr(tag)) if searched else "none, returned"

    known = {**attributes.LEVELS, **attributes.COMPUTED}
    return _table(
        ("level", "attribute", "tag", "VR", "matching", "in every answer of QIDO-RS"),
        (
            (level.name, dictionary_description(tag), f"`{attributes.key(tag)}`", attributes.vr(tag), how(tag),
             ", ".join(one.name for one in Level if tag in attributes.REQUIRED[one]))
            for tag, level in sorted(known.items(), key=lambda one: (one[1], one[0]))
        ),
    )  # fmt: skip


# Modalities in Study and SOP Classes in Study: computed, and searched in the level below.
_SEARCHED = {0x00080061, 0x00080062}


def _find_statuses() -> list[str]:
    most, images = (f"{role(f'orthanc_limit_find_{what}'):,}" for what in ("results", "instances"))
    said = (
        (answering.SUCCESS, "the answers are complete"),
        (answering.PENDING, "an answer; every key was used"),
        (answering.PENDING_WITH_WARNING, "an answer; a key with a value is not known, and was ignored"),
        (answering.OUT_OF_RESOURCES, f"there are more answers than {most}, at the level IMAGE {images}"),
        (answering.BAD_IDENTIFIER, "the identifier can't be read, or has an unknown level"),
        (answering.UNABLE, "the index can't be read now"),
        (answering.CANCEL, "C-CANCEL"),
    )
    return _table(("status", "meaning"), ((_status(number), text) for number, text in said))


def _worklist_statuses() -> list[str]:
    most = f"{role('orthanc_limit_find_results'):,}"
    said = (
        (answering.SUCCESS, "the answers are complete"),
        (answering.PENDING, "an answer; every key was used"),
        (answering.OUT_OF_RESOURCES, f"there are more answers than {most}"),
        (answering.BAD_IDENTIFIER, "the identifier can't be read"),
        (answering.UNABLE, "the worklist can't be read now"),
        (answering.CANCEL, "C-CANCEL"),
    )
    return _table(("status", "meaning"), ((_status(number), text) for number, text in said))


def _retrieve_statuses() -> list[str]:
    said = (
        (answering.SUCCESS, "C-MOVE, C-GET", "all images were sent; without sub-operations: nothing matches"),
        (answering.PENDING, "C-MOVE, C-GET", "after each image"),
        (answering.SOME_FAILED, "C-MOVE, C-GET", "some were not sent, or answered with a warning"),
        (answering.NO_MATCHES_COUNTED, "C-MOVE, C-GET", "the index can't be read now"),
        (answering.NOT_PERFORMED, "C-MOVE, C-GET", "none was sent"),
        (answering.UNKNOWN_DESTINATION, "C-MOVE", "the destination is no caller, or has no host and port"),
        (answering.BAD_IDENTIFIER, "C-MOVE, C-GET", "unknown level, or no value for the key of the level"),
        (answering.CANCEL, "C-MOVE, C-GET", "C-CANCEL"),
    )
    return _table(("status", "of", "meaning"), ((_status(number), *rest) for number, *rest in said))


def _suboperations() -> list[str]:
    said = (
        (transfer.NO_CONTEXT, "no presentation context for the SOP class and a transfer syntax that it can have"),
        (transfer.UNREADABLE, "the image can't be read or transcoded"),
        (transfer.UNANSWERED, "the association ended at this image"),
    )
    return _table(("noted as", "meaning"), ((_status(number), text) for number, text in said))


def _requests() -> list[str]:
    said = (
        (action.SUCCESS, "the request is kept; a report follows"),
        (action.PROCESSING_FAILURE, "it can't be kept now, or the caller has no host and port in the settings"),
        (action.NO_SUCH_INSTANCE, "another instance than the well-known one"),
        (action.INVALID_ARGUMENT, "the action information can't be read, or names no image"),
        (action.NO_SUCH_CLASS, "another SOP class"),
        (action.NO_SUCH_ACTION, "another action type than 1"),
    )
    return _table(("status", "meaning"), ((_status(number), text) for number, text in said))


def _reasons() -> list[str]:
    said = (
        (copies.PROCESSING_FAILURE, "for six hours a copy was missing or damaged, or its lock was wrong"),
        (copies.NO_SUCH_OBJECT, "the site has no such image"),
        (copies.CLASS_INSTANCE_CONFLICT, "the image has another SOP class"),
    )
    return _table(("failure reason", "meaning"), ((_status(number), text) for number, text in said))


def _routed() -> list[str]:
    """Return what a destination's status means, by what follows for a first and a third attempt."""

    def follows(status: int) -> str:
        first, third = (answers.judge(1, attempts, status).state for attempts in (1, 3))
        return {
            ("confirmed", "confirmed"): "stored",
            ("waiting", "confirmed"): "sent again twice, then stored, with the warning",
            ("dead", "dead"): "refused for good: an operator decides",
            ("waiting", "waiting"): "sent again",
        }[first, third]

    spans: dict[str, list[str]] = {}
    for what, group in groupby(range(0x10000), follows):
        spans.setdefault(what, []).append(_span(list(group)))
    del spans[follows(_ANY)]
    spans[follows(_ANY)] = ["any other"]
    return _table(("status", "what follows"), ((", ".join(numbers), what) for what, numbers in spans.items()))


def _span(numbers: list[int]) -> str:
    return _status(numbers[0]) if len(numbers) == 1 else f"{_status(numbers[0])} to {_status(numbers[-1])}"


def _routing() -> list[str]:
    said = [("a destination is asked whether it answers", *inquiry.VERIFICATION),
            ("a destination is asked which images it has", *inquiry.FIND)]  # fmt: skip
    return _table(("when", "SOP class", "transfer syntax"),
                  ((when, UID(one).name, UID(syntax).name) for when, one, syntax in said))  # fmt: skip


def _leaving() -> list[str]:
    wanted = {uid: f"`{name}`" for name, uid in transcode.SYNTAXES.items()}
    kept = ((*_named(uid), wanted[uid], "yes" if uid in transcode.UNCOMPRESSED else "") for uid in wanted)
    return _table(("transfer syntax", "UID", "`transfer_syntax`", "proposed for every image"), kept)


def _stow_statuses() -> list[str]:
    """Return the status for each kind of outcomes of the images of a request."""
    reasons = [store.CANNOT_UNDERSTAND, store.OUT_OF_RESOURCES, store.NOT_AUTHORIZED, store.MISMATCH]
    said: dict[int, list[str]] = {}
    for outcomes in ([], [0], [0, reasons[0]], *([one] for one in reasons), reasons):
        answer = store.Answer("", None, [store.Outcome(Identity(), one) for one in outcomes])
        said.setdefault(answer.status.value, []).append(_outcomes(outcomes))
    return _table(("status", "the images"), ((code, "; ".join(said[code])) for code in sorted(said)))


def _outcomes(outcomes: list[int]) -> str:
    if not outcomes:
        return "the request has none"
    if outcomes == [0]:
        return "all are stored"
    if 0 in outcomes:
        return "some are stored"
    return f"all fail with {_status(outcomes[0])}" if len(outcomes) == 1 else "all fail, for several reasons"


def _stow_reasons() -> list[str]:
    said = (
        (store.CANNOT_UNDERSTAND, "no readable DICOM file, or not `application/dicom`"),
        (store.OUT_OF_RESOURCES, "it can't be kept now"),
        (store.MISMATCH, "it belongs to another study than the path names"),
        (store.NOT_AUTHORIZED, "it would replace another image, which the site refuses (`policy.replace`)"),
    )
    return _table(("failure reason", "meaning"), ((_status(number), text) for number, text in said))


TABLES: dict[str, Callable[[], list[str]]] = {
    "entities": _entities,
    "query-classes": _query_classes,
    "identifiers": _identifiers,
    "made": _made,
    "storage-classes": _storage_classes,
    "not-stored": _not_stored,
    "storage-syntaxes": _storage_syntaxes,
    "keys": _keys,
    "find-statuses": _find_statuses,
    "worklist-statuses": _worklist_statuses,
    "retrieve-statuses": _retrieve_statuses,
    "suboperations": _suboperations,
    "requests": _requests,
    "reasons": _reasons,
    "routed": _routed,
    "routing": _routing,
    "leaving": _leaving,
    "stow-statuses": _stow_statuses,
    "stow-reasons": _stow_reasons,
}
