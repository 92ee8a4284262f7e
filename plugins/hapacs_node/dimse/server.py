"""Accepts associations for the query/retrieve title, with a thread for each."""

import socket
import ssl
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from hapacs_node import log
from hapacs_node.dimse.accept import Caller, accept
from hapacs_node.dimse.answering import SUCCESS, Association
from hapacs_node.dimse.contexts import OPERATIONS, QUERYING, SCHEDULING, Operation
from hapacs_node.dimse.find import Find
from hapacs_node.dimse.retrieve import Retrieve
from hapacs_node.dimse.wire import Connection, EndedError, Message, ProtocolError
from hapacs_node.https import Listener, require_alive

_LOG = log.get("dimse")
_HANDSHAKE_S = 5
# A caller that is silent for so long is aborted.
_IDLE_S = 60
_BACKLOG = 128
_NUMBERS = ("Associations", "FindResults", "FindInstances")
# Command fields of requests (PS3.7 E.1).
_ECHO_RQ, _FIND_RQ, _GET_RQ, _MOVE_RQ, _CANCEL_RQ = 0x0030, 0x0020, 0x0010, 0x0021, 0x0FFF
_COMMANDS: dict[Operation, int] = {
    "echo": _ECHO_RQ, "find": _FIND_RQ, "get": _GET_RQ, "move": _MOVE_RQ, "worklist": _FIND_RQ,
}  # fmt: skip


@dataclass(frozen=True)
class Entity:
    """The application entity of Orthanc's configuration (``Hapacs.Dimse``).

    Attributes
    ----------
    title : str
        Our AE title.
    also : sequence of str
        Further called titles that are answered.
    callers : mapping
        Who may open associations, by title.
    associations : int
        Most at the same time.
    results, instances : int
        Most answers to a C-FIND, and to one at the level IMAGE.
    """

    title: str
    callers: Mapping[str, Caller]
    associations: int
    results: int = 2000
    instances: int = 20_000
    also: Sequence[str] = ()

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """Read it.

        Parameters
        ----------
        document : dict
            ``Title``, ``Also``, ``Associations``, ``FindResults``, ``FindInstances``; ``Callers``, each with ``Title``,
            ``May`` and possibly ``Host`` and ``Port``.
        """
        callers = {
            str(one["Title"]): Caller(
                str(one["Title"]), frozenset(one["May"]), str(one.get("Host") or ""), int(one.get("Port") or 0)
            )
            for one in document["Callers"]
        }
        associations, results, instances = (int(document[name]) for name in _NUMBERS)
        also = tuple(map(str, document.get("Also", ())))
        return cls(str(document["Title"]), callers, associations, results, instances, also)


@dataclass
class Scp:
    """Serves associations.

    Parameters
    ----------
    entity : Entity
        Title, callers and limit.
    find, retrieve
        The services.
    worklist : Find or None
        The service of the worklist's title, where the site has one.
    """

    entity: Entity
    find: Find
    retrieve: Retrieve
    worklist: Find | None = None
    _titles: dict[str, frozenset[Operation]] = field(init=False)
    _socket: socket.socket | None = field(default=None, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _room: threading.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._room = threading.Semaphore(self.entity.associations)
        self._titles = dict.fromkeys((self.entity.title, *self.entity.also), QUERYING)
        if self.worklist is not None:
            self._titles[self.worklist.title] = SCHEDULING

    def start(self, listener: Listener) -> int:
        """Start to listen, and return the port.

        Raises
        ------
        OSError
            When the certificates or the address can't be used.
        """
        tls = listener.tls()
        family = socket.AF_INET6 if ":" in listener.address else socket.AF_INET
        self._socket = socket.create_server((listener.address, listener.port), family=family, backlog=_BACKLOG)
        self._thread = threading.Thread(target=self._listen, args=(self._socket, tls), name="dimse", daemon=True)
        self._thread.start()
        return int(self._socket.getsockname()[1])

    def stop(self) -> None:
        """Accept no new associations. Those that are open continue while the process lives."""
        if self._socket is not None:
            # A thread that waits in accept() is woken by this, and not by a close.
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def probe(self) -> str:
        """Check that associations are accepted.

        Raises
        ------
        NodeError
            When they are not.
        """
        require_alive(self._thread, "the query/retrieve title")
        return "associations are accepted"

    def _listen(self, listening: socket.socket, tls: ssl.SSLContext) -> None:
        while True:
            try:
                connected, _ = listening.accept()
            except OSError as error:
                if listening.fileno() < 0:
                    return
                # Without a free descriptor, for example; the others go on.
                _LOG.error(log.line("not_accepted", error=error))
                threading.Event().wait(0.1)
                continue
            threading.Thread(target=self._serve, args=(connected, tls), name="association", daemon=True).start()

    def _serve(self, connected: socket.socket, tls: ssl.SSLContext) -> None:
        connected.settimeout(_HANDSHAKE_S)
        try:
            secured = tls.wrap_socket(connected, server_side=True)
        except OSError as error:
            connected.close()
            _LOG.debug(log.line("handshake_failed", error=error))
            return
        secured.settimeout(_IDLE_S)
        self.serve(Connection(secured))

    def serve(self, connection: Connection) -> None:
        """Serve one association until its end."""
        room = self._room.acquire(blocking=False)
        try:
            accepted = accept(connection, self._titles, self.entity.callers, room=room)
            if accepted is not None:
                association = Association(connection, accepted)
                while (message := connection.receive()) is not None:
                    self._answer(association, message)
        except ProtocolError as error:
            _LOG.warning(log.line("association_aborted", error=error))
            connection.abort()
        except EndedError as error:
            _LOG.debug(log.line("association_ended", error=error))
            connection.abort()
        except Exception as error:  # noqa: BLE001 - one association must not end the others
            # Its text could hold a value of the request.
            _LOG.error(log.line("association_aborted", error=type(error).__name__, where=_place(error)))
            connection.abort()
        finally:
            connection.close()
            if room:
                self._room.release()

    def _answer(self, association: Association, message: Message) -> None:
        operation = OPERATIONS.get(association.context(message).abstract)
        command = message.command.CommandField
        if command == _CANCEL_RQ:
            # It came after the last response.
            return
        if (
            operation is None
            or _COMMANDS[operation] != command
            or not isinstance(message.command.get("MessageID"), int)
        ):
            raise ProtocolError(f"command {command:04X} does not belong to its presentation context")
        if operation == "echo":
            association.respond(message, SUCCESS)
        elif operation == "find":
            self.find.serve(association, message)
        elif operation == "worklist" and self.worklist is not None:
            self.worklist.serve(association, message)
        elif operation == "move":
            self.retrieve.move(association, message)
        else:
            self.retrieve.get(association, message)


def _place(error: Exception) -> str:
    """Return file and line of an unexpected exception."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}"
