"""Answers C-MOVE and C-GET (DICOM PS3.4 C.4.2 and C.4.3)."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from pydicom import Dataset

from hapacs_node import log
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.selection import Selected, Selection
from hapacs_node.dimse.accept import Caller
from hapacs_node.dimse.answering import (
    BAD_IDENTIFIER,
    CANCEL,
    CANCEL_RQ,
    NO_MATCHES_COUNTED,
    NOT_PERFORMED,
    PENDING,
    SOME_FAILED,
    SUCCESS,
    UNKNOWN_DESTINATION,
    Association,
    identifier,
    is_cancel,
)
from hapacs_node.dimse.contexts import PATIENT_ROOT, Context
from hapacs_node.dimse.destination import Destination, answered
from hapacs_node.dimse.transfer import (
    Image,
    LostError,
    Originator,
    Sender,
    Tally,
    Target,
    failed_list,
    store_request,
)
from hapacs_node.dimse.wire import EndedError, Message
from hapacs_node.errors import BusyError, NodeError, RefusedError
from hapacs_node.query.attributes import Level
from hapacs_node.query.criteria import Criterion, Search
from hapacs_node.record.addresses import Addresses

_LOG = log.get("dimse")
_LEVELS = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
_PATIENT_ID = "00100020"


@dataclass
class _Caller:
    """The caller of a C-GET as the target of its images, on its own association."""

    association: Association
    request: Message
    cancelled: bool = False
    sent: int = 0

    def contexts(self, _instance: Selected) -> Sequence[Context]:
        return list(self.association.accepted.contexts.values())

    def store(self, sent: Image) -> int:
        connection = self.association.connection
        self.sent += 1
        priority = int(self.request.command.get("Priority") or 0)
        request = store_request(sent, self.sent, priority, None)
        connection.send(sent.context.number, request, sent.dataset)
        while (message := connection.receive()) is not None and message.command.CommandField == CANCEL_RQ:
            self.cancelled = is_cancel(message, self.request) or self.cancelled
        return answered(message, int(request.MessageID))


@dataclass
class _Run:
    """One request with its sub-operations, and the name of the destination of a C-MOVE."""

    association: Association
    request: Message
    instances: Sequence[Selected]
    address: Future[str]
    destination: str | None = None
    tally: Tally = field(init=False)
    _began: float = field(default_factory=time.monotonic, init=False)

    def __post_init__(self) -> None:
        self.tally = Tally(len(self.instances))

    @property
    def _caller(self) -> str:
        return self.association.accepted.caller.title

    def send(self, sender: Sender, target: Target) -> None:
        """Send the images, and answer the request."""
        left = dict.fromkeys(one.sop for one in self.instances)
        cancelled, why = False, ""
        try:
            for instance, outcome in sender.send(self.instances, target):
                self.tally.count(instance.sop, outcome)
                left.pop(instance.sop, None)
                self._record(instance, outcome)
                cancelled = isinstance(target, _Caller) and target.cancelled
                if cancelled or self.association.is_cancelled(self.request):
                    cancelled = True
                    break
                self.association.respond(self.request, PENDING, tally=self.tally)
        except (LostError, BusyError) as error:
            self.tally.failed += left
            why = str(error)
        except EndedError:
            self._log(_LOG.warning, outcome="ended by the caller")
            raise
        status = SUCCESS if self.tally.completed == self.tally.total else SOME_FAILED
        if len(self.tally.failed) == self.tally.total:
            status = NOT_PERFORMED
        self.end(CANCEL if cancelled else status, why)

    def fail(self, why: str) -> None:
        """Answer that no image can be sent."""
        self.tally.failed = [one.sop for one in self.instances]
        self.end(NOT_PERFORMED, why)

    def end(self, status: int, why: str) -> None:
        """Send the last response."""
        failed = failed_list(self.tally.failed) if self.tally.failed else None
        self.association.respond(self.request, status, tally=self.tally, identifier=failed, comment=why)
        write = _LOG.info if status in {SUCCESS, CANCEL} else _LOG.warning
        self._log(write, status=f"{status:04x}", error=why or None)

    def _log(self, write: Callable[[object], None], **fields: object) -> None:
        write(
            log.line(
                "retrieval",
                what="C-GET" if self.destination is None else "C-MOVE",
                caller=self._caller,
                destination=self.destination,
                objects=self.tally.completed + self.tally.warned,
                failed=len(self.tally.failed),
                seconds=f"{time.monotonic() - self._began:.3f}",
                **fields,
            )
        )

    def _record(self, instance: Selected, status: int) -> None:
        row = instance.object
        line = partial(
            log.line,
            "retrieved",
            sop=instance.sop,
            series=instance.series,
            study=instance.study,
            uuid=row and row.uuid,
            digest=row and row.digest,
            size=row and row.size,
            caller=self._caller,
            destination=self.destination,
            status=f"{status:04x}",
            outcome="sent" if status == SUCCESS else "failed",
        )
        write = _LOG.info if status == SUCCESS else _LOG.warning
        # Runs at once when the address is known, else on the thread that requests it.
        self.address.add_done_callback(lambda answer: write(line(address=answer.result())))


@dataclass(frozen=True)
class Retrieve:
    """Answers C-MOVE and C-GET.

    Parameters
    ----------
    title : str
        Our AE title.
    callers : mapping
        All callers by title: the destinations are among them.
    catalog : Catalog
        Lists the images.
    sender : Sender
        Reads and sends them.
    addresses : Addresses
        Requests the addresses of callers, for the log.
    timeout_s : float
        Limit for each wait for a destination.
    """

    title: str
    callers: Mapping[str, Caller]
    catalog: Catalog
    sender: Sender
    addresses: Addresses
    timeout_s: float = 60

    def move(self, association: Association, request: Message) -> None:
        """Answer a C-MOVE.

        Raises
        ------
        EndedError
            When the caller ends the association.
        """
        name = str(request.command.get("MoveDestination") or "").strip()
        where = self.callers.get(name)
        if where is None or not where.host:
            association.respond(request, UNKNOWN_DESTINATION, comment="this destination is no caller of the site")
            _LOG.warning(log.line("retrieval", what="C-MOVE", caller=association.accepted.caller.title,
                                  destination=name, outcome="unknown destination"))  # fmt: skip
            return
        instances = self._select(association, request)
        if not instances:
            if instances is not None:
                association.respond(request, SUCCESS, tally=Tally(0))
            return
        originator = Originator(association.accepted.caller.title, int(request.command.MessageID))
        priority = int(request.command.get("Priority") or 0)
        pairs = [(one.sop_class, one.transfer_syntax) for one in instances]
        address = self.addresses.of(association.accepted.caller.title)
        run = _Run(association, request, instances, address, name)
        with Destination(where, self.title, originator, priority, self.timeout_s, pairs) as destination:
            try:
                destination.open()
            except LostError as error:
                run.fail(str(error))
                return
            run.send(self.sender, destination)

    def get(self, association: Association, request: Message) -> None:
        """Answer a C-GET.

        Raises
        ------
        EndedError
            When the caller ends the association.
        """
        instances = self._select(association, request)
        if not instances:
            if instances is not None:
                association.respond(request, SUCCESS, tally=Tally(0))
            return
        address = self.addresses.of(association.accepted.caller.title)
        _Run(association, request, instances, address).send(self.sender, _Caller(association, request))

    def _select(self, association: Association, request: Message) -> list[Selected] | None:
        """Return the images that a request names; None when it was answered with a failure."""
        context = association.context(request)
        try:
            named = identifier(request, context)
            return self._matching(named, patient_root=context.abstract.startswith(PATIENT_ROOT))
        except RefusedError as error:
            association.respond(request, BAD_IDENTIFIER, comment=str(error))
        except NodeError as error:
            _LOG.error(log.line("retrieval", caller=association.accepted.caller.title, outcome="failed", error=error))
            association.respond(request, NO_MATCHES_COUNTED, comment="the index can't be read now: ask again later")
        return None

    def _matching(self, named: Dataset, *, patient_root: bool) -> list[Selected]:
        level = str(named.get("QueryRetrieveLevel") or "").strip().upper()
        if level == "PATIENT" and patient_root:
            patients = _values(named, "PatientID")
            if not patients:
                raise RefusedError("PatientID is empty")
            criterion = Criterion(Level.STUDY, _PATIENT_ID, "LO", patients)
            found = self.catalog.search(Search(Level.STUDY, (criterion,)))
            return self.catalog.select(Selection(tuple(one.study for one in found))) if found else []
        if level not in _LEVELS:
            raise RefusedError("QueryRetrieveLevel is not one of this information model")
        uids = [_values(named, keyword) for keyword in list(_LEVELS.values())[: list(_LEVELS).index(level) + 1]]
        if not uids[-1]:
            raise RefusedError(f"{_LEVELS[level]} is empty")
        return self.catalog.select(Selection(*uids))


def _values(named: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of a unique key: one or a list (PS3.4 C.2.2.2.2)."""
    value = named.get(keyword)
    values = [value] if isinstance(value, str) else list(value or ())
    return tuple(dict.fromkeys(text for one in values if (text := str(one).strip(" \0"))))
