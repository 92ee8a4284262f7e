"""Retries of a transaction on connections that fail; tests/storage uses a real server."""

import time
from collections.abc import Callable
from typing import Any, cast

import psycopg
import pytest
from psycopg import errors as sql_errors

from hapacs_node.catalog.database import Database
from hapacs_node.errors import CatalogError, CatalogUnavailableError, SchemaError
from hapacs_node.metrics import Metrics
from hapacs_node.settings import Database as DatabaseSettings

LOST = psycopg.OperationalError("server closed the connection unexpectedly")


class FakeConnection:
    def __init__(self, number: int, generation: int) -> None:
        self.number = number
        self.generation = generation
        self.deadline = 0.0
        self.warning: str | None = None
        self.closed = False

    class info:  # noqa: N801 - as in psycopg
        transaction_status = psycopg.pq.TransactionStatus.IDLE

    def close(self) -> None:
        self.closed = True


class FakeDatabase(Database):
    """Connects to nothing; each connection raises the next of `connect_faults`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.made: list[FakeConnection] = []
        self.connect_faults: list[Exception] = []

    def _connect(self, deadline: float) -> Any:
        assert deadline > 0
        if self.connect_faults:
            raise self.connect_faults.pop(0)
        self.made.append(FakeConnection(len(self.made), self._generation))
        return self.made[-1]


@pytest.fixture
def database(metrics: Metrics) -> FakeDatabase:
    document = {"hosts": ["192.0.2.1", "192.0.2.2"], "password_file": "/none", "ca_file": "/none", "connections": 2}
    return FakeDatabase(DatabaseSettings.model_validate(document), metrics)


def failing_once(*faults: Exception) -> Callable[[Any], int]:
    rest = list(faults)

    def work(connection: Any) -> int:
        if rest:
            raise rest.pop(0)
        return int(connection.number)

    return work


def test_a_connection_is_used_again(database: FakeDatabase) -> None:
    assert [database.run(failing_once()) for _ in range(3)] == [0, 0, 0]
    assert len(database.made) == 1


@pytest.mark.parametrize(
    "fault",
    [
        LOST,
        sql_errors.AdminShutdown("57P01"),
        sql_errors.ReadOnlySqlTransaction("25006"),
        psycopg.InterfaceError("gone"),
    ],
    ids=["lost", "shutdown", "demoted", "gone"],
)
def test_after_a_loss_the_work_is_retried_on_a_new_connection(
    database: FakeDatabase, metrics: Metrics, fault: Exception
) -> None:
    assert database.run(failing_once(fault)) == 1
    assert database.made[0].closed
    assert metrics.registry.get_sample_value("hapacs_database_retries_total") == 1
    assert metrics.registry.get_sample_value("hapacs_database_connections_lost_total") == 1


def test_a_loss_closes_the_other_connections_of_its_generation(database: FakeDatabase) -> None:
    def nested(connection: Any) -> int:
        inner: int = database.run(lambda other: cast("FakeConnection", other).number)
        return inner + int(connection.number)

    assert database.run(nested) == 1
    assert database.run(failing_once(LOST)) == 2
    assert [connection.closed for connection in database.made] == [True, True, False]


def test_a_conflict_is_retried_on_the_same_connection(database: FakeDatabase) -> None:
    assert database.run(failing_once(sql_errors.SerializationFailure("40001"))) == 0
    assert not database.made[0].closed


def test_a_warning_during_the_commit_is_no_acknowledgement(database: FakeDatabase) -> None:
    """PostgreSQL reports a cancelled wait for the synchronous standby as success with a warning."""
    warnings = ["canceling wait for synchronous replication due to user request"]

    def work(connection: Any) -> int:
        if warnings:
            connection.warning = warnings.pop()
        return int(connection.number)

    assert database.run(work) == 1  # done again, elsewhere


def test_a_leader_that_is_found_before_the_deadline_completes_the_work(database: FakeDatabase) -> None:
    database.connect_faults = [psycopg.OperationalError("connection refused")] * 5
    assert database.run(failing_once(), deadline_s=10) == 0


def test_without_a_leader_it_fails_at_the_deadline(database: FakeDatabase) -> None:
    database.connect_faults = [psycopg.OperationalError("connection refused")] * 1000
    began = time.monotonic()
    with pytest.raises(CatalogUnavailableError, match=r"192\.0\.2\.1.*connection refused"):
        database.run(failing_once(), deadline_s=0.5)
    assert time.monotonic() - began <= 0.6


def test_work_without_a_free_connection_waits_and_fails_at_the_deadline(database: FakeDatabase) -> None:
    def third(_: Any) -> int:
        return database.run(failing_once(), deadline_s=0.2)

    def second(_: Any) -> int:
        return database.run(third)

    with pytest.raises(CatalogUnavailableError, match="in use"):
        database.run(second)
    assert database.run(failing_once()) >= 0


def test_a_refused_statement_is_not_retried(database: FakeDatabase, metrics: Metrics) -> None:
    with pytest.raises(CatalogError, match="refused"):
        database.run(failing_once(sql_errors.CheckViolation("size")))
    with pytest.raises(SchemaError, match="hapacs-node migrate"):
        database.run(failing_once(sql_errors.UndefinedTable("hapacs.object")))
    assert metrics.registry.get_sample_value("hapacs_database_retries_total") == 0
    assert len(database.made) == 1


def test_close_closes_idle_connections(database: FakeDatabase) -> None:
    with database:
        database.run(failing_once())
    assert database.made[0].closed
