"""Connections to the PostgreSQL leader, and transactions with a deadline on them.

psycopg's pool reconnects in the background with a delay that doubles up to minutes. After a failover there is a leader
within seconds, and a modality waits. So here the caller's thread connects, tries the last leader first, and closes all
connections that are older than the last loss.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import psycopg
from psycopg import errors as sql_errors
from psycopg.abc import PQGen

from hapacs_node import log
from hapacs_node.errors import CatalogError, CatalogUnavailableError, SchemaError
from hapacs_node.metrics import Metrics
from hapacs_node.settings import Database as DatabaseSettings

_LOG = log.get("database")
_BACKOFF_S = (0.05, 1.0)
_FAR = 1e9
_MOVED = sql_errors.ReadOnlySqlTransaction  # the server was demoted under the connection
_AGAIN = (sql_errors.SerializationFailure, sql_errors.DeadlockDetected)


class _NotReplicated(psycopg.OperationalError):
    """The server warned during the commit: the commit may exist on one machine only."""


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose waits all end at its deadline. It records the server's last warning."""

    deadline: float = _FAR
    warning: str | None = None
    generation: int = 0

    def wait[T](self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Run one exchange with the server, until `deadline` at most."""
        left_s = max(0.0, self.deadline - time.monotonic())
        try:
            return super().wait(gen, interval, min(left_s, timeout or left_s))
        except psycopg.OperationalError:
            if time.monotonic() >= self.deadline:
                # The protocol is in the middle of an answer, so the connection can't be used again.
                self.pgconn.finish()
            raise


@dataclass
class Database:
    """A limited number of connections to the leader.

    Parameters
    ----------
    settings : hapacs_node.settings.Database
        Hosts, identity and time limits.
    metrics : Metrics
        Counts reconnections and retries.
    application : str
        Name in `pg_stat_activity`.
    """

    settings: DatabaseSettings
    metrics: Metrics
    application: str = "hapacs"
    _idle: list[Connection] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _generation: int = 0
    _leader: str | None = None
    _slots: threading.BoundedSemaphore = field(init=False)

    def __post_init__(self) -> None:
        self._slots = threading.BoundedSemaphore(self.settings.connections)
        self._connected = self.metrics.counter("hapacs_database_connections", "Connections made")
        self._losses = self.metrics.counter("hapacs_database_connections_lost", "Connections lost")
        self._retries = self.metrics.counter("hapacs_database_retries", "Transactions that were retried")

    def run[T](self, work: Callable[[Connection], T], *, deadline_s: float | None = None) -> T:
        """Run one transaction, and retry it on a new connection after a loss, until it is committed.

        Parameters
        ----------
        work : callable
            Runs SQL on the given connection as one transaction. It must be repeatable, because after a lost
            acknowledgement of a COMMIT its result is unknown.
        deadline_s : float, optional
            Longest time, seconds; by default that of the settings.

        Raises
        ------
        CatalogUnavailableError
            When no leader completed the transaction before the deadline.
        SchemaError
            When a table is missing.
        CatalogError
            When the server refused a statement.
        """
        deadline = time.monotonic() + (self.settings.deadline_s if deadline_s is None else deadline_s)
        attempt = 0
        while True:
            try:
                with self._connection(deadline) as connection:
                    result = work(connection)
                    if connection.warning is not None:
                        raise _NotReplicated(connection.warning)
                    return result
            except _AGAIN as error:
                failure: psycopg.Error = error
            except (psycopg.OperationalError, psycopg.InterfaceError, _MOVED) as error:
                failure = error
            except (sql_errors.UndefinedTable, sql_errors.InvalidSchemaName) as error:
                raise SchemaError(
                    f"{_first_line(error)}: run `hapacs-node migrate` for the catalog, start Orthanc once for its index"
                ) from error
            except psycopg.Error as error:
                raise CatalogError(f"the database refused: {_first_line(error)}") from error
            attempt += 1
            self._retries.inc()
            pause = random.uniform(*_BACKOFF_S) * min(attempt, 4) / 4  # noqa: S311 - jitter, not a secret
            if time.monotonic() + pause >= deadline:
                raise CatalogUnavailableError(
                    f"no database leader among {', '.join(self.settings.hosts)} completed the transaction before the "
                    f"deadline, attempt {attempt}: "
                    f"{_first_line(failure)}"
                ) from failure
            if attempt == 1:
                _LOG.warning(log.line("database_retry", error=_first_line(failure)))
            time.sleep(pause)

    def close(self) -> None:
        """Close every idle connection."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _connection(self, deadline: float) -> Iterator[Connection]:
        if not self._slots.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise psycopg.OperationalError("all connections are in use")
        try:
            connection = self._take() or self._connect(deadline)
            connection.deadline = min(deadline, time.monotonic() + self.settings.statement_timeout_s)
            try:
                yield connection
            except _AGAIN:
                self._put(connection)
                raise
            except (psycopg.OperationalError, psycopg.InterfaceError, _MOVED):
                connection.close()
                self._lost(connection)
                raise
            except BaseException:
                self._put(connection)
                raise
            self._put(connection)
        finally:
            self._slots.release()

    def _take(self) -> Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
                current = connection.generation == self._generation
            if current and not connection.closed:
                return connection
            connection.close()

    def _put(self, connection: Connection) -> None:
        connection.warning = None
        usable = not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with self._lock:
            if usable and connection.generation == self._generation:
                self._idle.append(connection)
                return
        connection.close()

    def _lost(self, connection: Connection) -> None:
        with self._lock:
            if connection.generation == self._generation:
                # The other connections of this generation lead to the same dead or demoted server.
                self._generation += 1
        self._losses.inc()

    def _connect(self, deadline: float) -> Connection:
        settings = self.settings
        with self._lock:
            generation, leader = self._generation, self._leader
        hosts = sorted(settings.hosts, key=lambda host: host != leader)
        encrypted = settings.ca_file is not None
        connection = Connection.connect(
            host=",".join(hosts),
            port=settings.port,
            dbname=settings.name,
            user=settings.user,
            password=settings.password().get_secret_value(),
            gssencmode="disable",
            sslmode="verify-full" if encrypted else "disable",
            sslrootcert=str(settings.ca_file) if encrypted else None,
            target_session_attrs="read-write",
            connect_timeout=max(1, min(settings.connect_timeout_s, int(deadline - time.monotonic()))),
            tcp_user_timeout=int(settings.statement_timeout_s * 1000),
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            application_name=self.application,
            # An acknowledgement means that two machines have the commit, regardless of the role's defaults.
            options=f"-c synchronous_commit=on -c statement_timeout={int(settings.statement_timeout_s * 1000)}",
            autocommit=True,
            # A new leader may not know a prepared statement.
            prepare_threshold=None,
        )
        connection.generation = generation
        connection.add_notice_handler(lambda notice: _remember(connection, notice))
        with self._lock:
            self._leader = connection.info.host
        _LOG.info(log.line("database_connected", host=connection.info.host))
        self._connected.inc()
        return connection


def _remember(connection: Connection, notice: psycopg.errors.Diagnostic) -> None:
    # A cancelled wait for the synchronous standby is only a WARNING. The commit then exists on one machine.
    if notice.severity_nonlocalized == "WARNING":
        connection.warning = notice.message_primary


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
