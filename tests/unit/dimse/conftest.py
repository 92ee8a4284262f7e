"""The query/retrieve title on loopback; its callers and destinations are pynetdicom's."""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association

from hapacs_node.catalog.catalog import Catalog
from hapacs_node.dimse.accept import Caller
from hapacs_node.dimse.find import Find
from hapacs_node.dimse.retrieve import Retrieve
from hapacs_node.dimse.server import Entity, Scp
from hapacs_node.dimse.transfer import Sender, Transcoder
from hapacs_node.dimse.wire import Connection
from hapacs_node.query.cfind import Finder
from hapacs_node.record.addresses import Addresses
from hapacs_node.retrieve.budget import Budget
from hapacs_node.storage.reader import Reader
from hapacs_node.worklist.find import WorklistFinder
from tests.unit.dimse.archive import Archive

TITLE, WORKLIST_TITLE, READING, WAIT_S = "HAPACS_QR", "HAPACS_WL", "READING", 20
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
PATIENT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
ALL = frozenset({"echo", "find", "get", "move", "worklist"})


@dataclass
class Workstation:
    """The destination of a C-MOVE, and what it got.

    Attributes
    ----------
    answers : callable
        Returns the status of each image; raises to abort the association.
    """

    answers: Callable[[Any], int] = lambda _: 0
    requests: list[Any] = field(default_factory=list)
    datasets: list[bytes] = field(default_factory=list)
    syntaxes: list[str] = field(default_factory=list)
    associations: int = 0

    def on_store(self, event: Any) -> int:
        status = self.answers(event)
        self.requests.append(event.request)
        self.datasets.append(event.request.DataSet.getvalue())
        self.syntaxes.append(str(event.context.transfer_syntax))
        return status

    @property
    def sops(self) -> list[str]:
        """The SOP Instance UIDs, in order."""
        return [str(request.AffectedSOPInstanceUID) for request in self.requests]


@pytest.fixture
def archive() -> Archive:
    return Archive()


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def workstation() -> Workstation:
    return Workstation()


@pytest.fixture
def receive(workstation: Workstation) -> Iterator[Callable[..., int]]:
    """Start the workstation for some pairs of SOP class and transfer syntax; return its port."""
    servers = []

    def start(*pairs: tuple[str, str]) -> int:
        entity = AE(ae_title=READING)
        for sop_class, syntax in pairs:
            entity.add_supported_context(sop_class, syntax)

        def accepted(_: Any) -> None:
            workstation.associations += 1

        handlers: list[Any] = [(evt.EVT_C_STORE, workstation.on_store), (evt.EVT_ACCEPTED, accepted)]
        server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert server is not None
        assert server.socket is not None
        servers.append(server)
        return int(server.socket.getsockname()[1])

    yield start
    for server in servers:
        server.shutdown()


@pytest.fixture
def serve(archive: Archive) -> Iterator[Callable[..., int]]:
    """Serve the title in the clear; return its port. The workstation listens at the given one."""
    listening: list[socket.socket] = []
    askers = ThreadPoolExecutor(1)

    def start(
        destination: int = 0,
        *,
        may: frozenset[str] = ALL,
        associations: int = 8,
        results: int = 2000,
        worklist: WorklistFinder | None = None,
    ) -> int:
        reading = Caller(READING, may, "127.0.0.1" if destination else "", destination)
        callers = {READING: reading, "CT1": Caller("CT1", frozenset({"echo"}))}
        catalog = cast("Catalog", archive)
        sender = Sender(cast("Reader", archive), Budget(1 << 24, 1), Transcoder(archive.transcode), "ISO_IR 100")
        addresses = Addresses(None, askers)
        scp = Scp(
            Entity(TITLE, callers, associations),
            Find(TITLE, Finder(archive.search, results)),
            Retrieve(TITLE, callers, catalog, sender, addresses, timeout_s=WAIT_S),
            None if worklist is None else Find(WORKLIST_TITLE, worklist),
        )
        server = socket.create_server(("127.0.0.1", 0))
        listening.append(server)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connected, _ = server.accept()
                    connected.settimeout(WAIT_S)
                    threading.Thread(target=scp.serve, args=(Connection(connected),), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return int(server.getsockname()[1])

    yield start
    for server in listening:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
    askers.shutdown()


def call(port: int, *classes: str, calling: str = READING, called: str = TITLE, **options: Any) -> Association:
    """Open an association for some classes in explicit little endian."""
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = WAIT_S
    contexts = [build_context(name, ExplicitVRLittleEndian) for name in classes] + list(options.pop("contexts", ()))
    return entity.associate("127.0.0.1", port, contexts=contexts, ae_title=called, **options)


def key(level: str, **keys: object) -> Dataset:
    """Make an identifier."""
    made = Dataset()
    made.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(made, keyword, value)
    return made


type Outcome = tuple[Dataset, Dataset | None]


def move(port: int, identifier: Dataset, destination: str = READING, model: str = MOVE) -> Outcome:
    """Send a C-MOVE; return the last response with its identifier."""
    association = call(port, model)
    assert association.is_established
    *_, last = association.send_c_move(identifier, destination, model)
    association.release()
    return last


def get(
    port: int, identifier: Dataset, proposed: Sequence[tuple[str, Sequence[str]]], on_store: Callable[[Any], int]
) -> Outcome:
    """Send a C-GET; return the last response with its identifier."""
    contexts = [build_context(name, list(syntaxes)) for name, syntaxes in proposed]
    roles = [build_role(name, scp_role=True) for name in dict.fromkeys(name for name, _ in proposed)]
    handlers: list[Any] = [(evt.EVT_C_STORE, on_store)]
    association = call(port, GET, contexts=contexts, ext_neg=roles, evt_handlers=handlers)
    assert association.is_established
    *_, last = association.send_c_get(identifier, GET)
    association.release()
    return last
