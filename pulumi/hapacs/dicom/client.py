"""Requests to a DICOM peer, one association each."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from pydicom import Dataset
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import _config, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import EventHandlerType
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at import time
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from hapacs.dicom.files import Sample
from hapacs.errors import HapacsError
from hapacs_node.association import released, request

# Send a file's data set as it is on disk; otherwise pynetdicom decodes and re-encodes it.
_config.STORE_SEND_CHUNKED_DATASET = True
# Its log of each message takes time and can contain patients' names.
_config.LOG_HANDLER_LEVEL = "none"

SUCCESS = 0x0000
# 0xB000 to 0xBFFF.
WARNING = 0xB000
PENDING = {0xFF00, 0xFF01}
# DICOM PS3.8 9.3.2: presentation context identifiers are the odd numbers up to 255.
MAXIMUM_CONTEXTS = 128


class DicomError(HapacsError):
    """A DICOM request failed."""


class AssociationRefusedError(DicomError):
    """The peer answered the A-ASSOCIATE-RQ with a refusal."""


@dataclass(frozen=True)
class Caller:
    """The side that requests an association.

    Attributes
    ----------
    ae_title
        Calling AE title.
    tls
        Opens the associations with TLS.
    """

    ae_title: str
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True)
class Peer:
    """The side that accepts an association.

    Attributes
    ----------
    host, port
        Its address.
    ae_title
        Called AE title.
    timeout_s
        Limit for the connection, for the association, and for each answer.
    """

    host: str
    port: int
    ae_title: str
    timeout_s: float = 30


@dataclass(frozen=True)
class StoreOutcome:
    """Outcome of one C-STORE request.

    Attributes
    ----------
    status
        DIMSE status (DICOM PS3.4 B.2.3); None when the request was not answered.
    detail
        The peer's comment, or why there is no answer.
    """

    sample: Sample
    status: int | None
    detail: str = ""

    @property
    def stored(self) -> bool:
        """Whether the peer stored it: success, or a warning."""
        return self.status is not None and (self.status == SUCCESS or self.status & 0xF000 == WARNING)


@dataclass
class Retrieved:
    """Data sets that a C-GET returned, as they were sent, by SOP Instance UID."""

    datasets: dict[str, tuple[UID, bytes]] = field(default_factory=dict)


@contextmanager
def associate(
    caller: Caller,
    peer: Peer,
    contexts: Sequence[PresentationContext],
    *,
    roles: Sequence[UID] = (),
    handlers: Sequence[EventHandlerType] = (),
) -> Iterator[Association]:
    """Open an association, and release it at the end.

    Parameters
    ----------
    roles
        SOP classes for which the caller offers to be SCP too (C-GET).
    handlers
        pynetdicom's event handlers.

    Raises
    ------
    AssociationRefusedError
        When the peer refuses.
    DicomError
        When the peer doesn't answer, or ends the connection without an answer.
    """
    association, refusal = request(
        caller.ae_title,
        peer.ae_title,
        peer.host,
        peer.port,
        contexts,
        timeout_s=peer.timeout_s,
        maximum_pdu=131072,
        tls=caller.tls,
        roles=[build_role(uid, scp_role=True) for uid in roles],
        handlers=handlers,
    )
    where = f"{peer.ae_title} at {peer.host}:{peer.port}"
    if refusal:
        raise AssociationRefusedError(f"{where} refuses an association from {caller.ae_title}: {refusal}.")
    if not association.is_established:
        raise DicomError(f"{where} gives {caller.ae_title} no association: no answer, or the connection was ended.")
    with released(association):
        yield association


def echo(caller: Caller, peer: Peer) -> None:
    """Send a C-ECHO.

    Raises
    ------
    DicomError
        When it is not answered with success.
    """
    with associate(caller, peer, [build_context(Verification)]) as association:
        _expect_success("C-ECHO", association.send_c_echo())


def contexts_of(samples: Iterable[Sample]) -> list[PresentationContext]:
    """Return one presentation context for each pair of SOP class and transfer syntax.

    With one transfer syntax in each context the peer can't choose another one, so that bytes need not be re-encoded.
    """
    pairs = dict.fromkeys((sample.sop_class, sample.transfer_syntax) for sample in samples)
    return [build_context(sop_class, [transfer_syntax]) for sop_class, transfer_syntax in pairs]


def store(caller: Caller, peer: Peer, samples: Sequence[Sample]) -> list[StoreOutcome]:
    """Send files byte for byte, in their order, in as few associations as presentation contexts allow.

    Returns
    -------
    list of StoreOutcome
        One for each file. A file that ends the association has no status; the next one goes by a new association.
    """
    outcomes: list[StoreOutcome] = []
    for batch in batches(samples):
        left = batch
        while left:
            answered = _store(caller, peer, left)
            outcomes += answered
            left = left[len(answered) :]
    return outcomes


def batches(samples: Sequence[Sample], limit: int = MAXIMUM_CONTEXTS) -> Iterator[list[Sample]]:
    """Cut a list so that no part needs more presentation contexts than an association can have."""
    batch: list[Sample] = []
    pairs: set[tuple[UID, UID]] = set()
    for sample in samples:
        pair = (sample.sop_class, sample.transfer_syntax)
        if pair not in pairs and len(pairs) == limit:
            yield batch
            batch, pairs = [], set()
        pairs.add(pair)
        batch.append(sample)
    if batch:
        yield batch


def _store(caller: Caller, peer: Peer, samples: list[Sample]) -> list[StoreOutcome]:
    outcomes: list[StoreOutcome] = []
    with (
        TemporaryDirectory(prefix="hapacs-store-") as scratch,
        associate(caller, peer, contexts_of(samples)) as association,
    ):
        accepted = {(context.abstract_syntax, context.transfer_syntax[0]) for context in association.accepted_contexts}
        for sample in samples:
            if (sample.sop_class, sample.transfer_syntax) not in accepted:
                outcomes.append(StoreOutcome(sample, None, NOT_ACCEPTED))
                continue
            # The request's names come from the file meta information; a peer compares them with the data set.
            named = sample.path if sample.named_alike else sample.write_as_named(Path(scratch) / "sample")
            answer = association.send_c_store(named)
            status = answer.get("Status")
            comment = str(answer.get("ErrorComment", ""))
            outcomes.append(StoreOutcome(sample, status, comment if status is not None else "no answer"))
            if status is None or not association.is_established:
                break
    return outcomes


NOT_ACCEPTED = "SOP class or transfer syntax not accepted in negotiation"


def find(caller: Caller, peer: Peer, query: Dataset) -> list[Dataset]:
    """Send a C-FIND in the study root model.

    Parameters
    ----------
    query
        The identifier, with its query/retrieve level.

    Raises
    ------
    DicomError
        When it does not end with success.
    """
    found: list[Dataset] = []
    with associate(caller, peer, [build_context(StudyRootQueryRetrieveInformationModelFind)]) as association:
        for status, identifier in association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind):
            if status.get("Status") in PENDING and identifier is not None:
                found.append(identifier)
            else:
                _expect_success("C-FIND", status)
    return found


def get(caller: Caller, peer: Peer, query: Dataset, samples: Sequence[Sample]) -> Retrieved:
    """Send a C-GET in the study root model.

    Parameters
    ----------
    samples
        Instances that may be returned: their SOP classes and transfer syntaxes are negotiated.

    Raises
    ------
    DicomError
        When it does not end with success.
    """
    retrieved = Retrieved()

    def keep(event: evt.Event) -> int:
        uid = str(cast(C_STORE, event.request).AffectedSOPInstanceUID)
        retrieved.datasets[uid] = (UID(event.context.transfer_syntax), event.encoded_dataset(include_meta=False))
        return SUCCESS

    contexts = [build_context(StudyRootQueryRetrieveInformationModelGet, ImplicitVRLittleEndian), *contexts_of(samples)]
    roles = list(dict.fromkeys(sample.sop_class for sample in samples))
    handlers = [(evt.EVT_C_STORE, keep)]
    with associate(caller, peer, contexts, roles=roles, handlers=handlers) as association:
        status = Dataset()
        for status, _ in association.send_c_get(query, StudyRootQueryRetrieveInformationModelGet):
            if status.get("Status") not in PENDING:
                _expect_success("C-GET", status)
    return retrieved


def move(caller: Caller, peer: Peer, query: Dataset, destination: str) -> Mapping[str, int]:
    """Send a C-MOVE in the study root model, and wait until the peer reports that it is complete.

    Parameters
    ----------
    destination
        AE title to which the instances are sent.

    Returns
    -------
    mapping
        ``completed``, ``failed`` and ``warning`` sub-operations.

    Raises
    ------
    DicomError
        When it does not end with success.
    """
    last = Dataset()
    with associate(caller, peer, [build_context(StudyRootQueryRetrieveInformationModelMove)]) as association:
        for status, _ in association.send_c_move(query, destination, StudyRootQueryRetrieveInformationModelMove):
            last = status
            if status.get("Status") not in PENDING:
                _expect_success("C-MOVE", status)
    return {
        "completed": int(last.get("NumberOfCompletedSuboperations", 0)),
        "failed": int(last.get("NumberOfFailedSuboperations", 0)),
        "warning": int(last.get("NumberOfWarningSuboperations", 0)),
    }


def _expect_success(operation: str, answer: Dataset) -> None:
    status = answer.get("Status")
    if status is None:
        raise DicomError(f"{operation} was not answered in time, or the association was lost.")
    if status != SUCCESS:
        comment = f": {answer.ErrorComment}" if answer.get("ErrorComment") else ""
        failed = answer.get("NumberOfFailedSuboperations")
        parts = f", {failed} instances failed" if failed else ""
        raise DicomError(f"{operation} ended with status 0x{status:04X}{comment}{parts}.")
