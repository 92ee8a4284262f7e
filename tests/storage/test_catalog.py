"""The catalog on a real PostgreSQL."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from hapacs_node.catalog import schema
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.removals import Removal
from hapacs_node.errors import CatalogError, CatalogUnavailableError, SchemaError
from hapacs_node.metrics import Metrics
from hapacs_node.node import Node
from hapacs_node.settings import Settings
from tests.storage.conftest import DIGEST, row
from tests.storage.servers import Postgres, free_ports, wait_until


def test_a_row_is_read_as_it_was_written(catalog: Catalog) -> None:
    uuid = uuid4()
    catalog.add(row(uuid))
    found = catalog.find(uuid)
    assert found is not None
    assert found.stored_at is not None
    assert found.stored_at.utcoffset() is not None
    assert (found.uuid, found.digest, found.size, found.length) == (uuid, DIGEST, 12, 12)
    assert uuid in {other.uuid for other in catalog.by_digest(DIGEST)}
    assert catalog.find(uuid4()) is None


def test_a_session_is_found_by_its_application_while_it_lasts(catalog: Catalog, postgres: Postgres) -> None:
    name = f"orthanc-store-{'n' * 63}"
    assert not catalog.has_session(name)
    with postgres.connect() as connection:
        connection.execute("select set_config('application_name', %s, false)", [name])
        assert catalog.has_session(name)
    wait_until(lambda: not catalog.has_session(name), "the end of the session", 10)


@pytest.mark.usefixtures("active_rules")
def test_an_image_has_one_event_while_rules_are_active_and_none_without(catalog: Catalog, postgres: Postgres) -> None:
    uuid, attachment, later = uuid4(), uuid4(), uuid4()
    for _ in range(2):
        catalog.add(row(uuid))
    catalog.add(replace(row(attachment), type=0))
    with postgres.connect() as connection:
        connection.execute("update hapacs.ruleset set active = false")
        catalog.add(row(later))
        events = connection.execute(
            "select uuid, node from hapacs.event where uuid = any(%s)", [[uuid, attachment, later]]
        ).fetchall()
    assert events == [(uuid, "pacs1")]


def test_tasks_of_the_former_outbox_are_dropped_and_its_program_still_stores(
    configure: Callable[..., Settings], postgres: Postgres
) -> None:
    uuid = uuid4()
    former = "insert into hapacs.outbox (uuid, kind) values (%s, 'route') on conflict (uuid, kind) do nothing"
    with Database(configure().database, Metrics()) as database, postgres.connect() as connection:
        schema.migrate(database)
        Catalog(database).add(row(uuid))
        connection.execute(former, [uuid])
        assert connection.execute("select count(*) from hapacs.outbox").fetchone() == (0,)


def test_other_bytes_under_a_known_name_are_refused(catalog: Catalog) -> None:
    uuid = uuid4()
    catalog.add(row(uuid))
    with pytest.raises(CatalogError, match="other bytes"):
        catalog.add(row(uuid, "cd" * 32))
    catalog.tombstone(uuid, "pacs1", Removal("removed"))
    with pytest.raises(CatalogError):
        catalog.add(row(uuid))


def test_the_first_removal_counts(catalog: Catalog) -> None:
    uuid = uuid4()
    assert not catalog.tombstone(uuid, "pacs1", Removal("removed"))
    catalog.add(row(uuid))
    assert catalog.tombstone(uuid, "pacs1", Removal("removed"))
    first = catalog.find(uuid)
    assert catalog.tombstone(uuid, "pacs2", Removal("removed"))
    assert first is not None
    assert first.tombstoned_at is not None
    assert catalog.find(uuid) == first


def test_the_index_gives_parents_instances_and_acknowledged_attachments(catalog: Catalog, postgres: Postgres) -> None:
    dicom, header, public_id, uid = uuid4(), uuid4(), f"instance-{uuid4()}", f"1.2.{uuid4().int}"
    with postgres.connect() as connection:
        connection.execute("insert into resources values (7, 3, %s)", [public_id])
        connection.execute("insert into dicomidentifiers values (7, 8, 24, %s)", [uid])
        for kind, uuid, size in ((1, dicom, 100), (3, header, 40)):
            connection.execute(
                "insert into attachedfiles values (7, %s, %s, %s, %s, 1, 'md5', null)", [kind, str(uuid), size, size]
            )
    found = catalog.derived_from(header)
    assert found is not None
    assert [(attachment.uuid, attachment.type, attachment.size) for attachment in found] == [
        (header, 3, 40),
        (dicom, 1, 100),
    ]
    assert catalog.derived_from(uuid4()) is None
    for name in (public_id, uid):
        assert {key: [a.uuid for a in value] for key, value in catalog.instances(name).items()} == {
            public_id: [dicom, header]
        }
    assert catalog.acknowledged([dicom, uuid4()]) == {dicom}


@pytest.mark.timeout(60)
def test_the_index_on_attachments_is_made_once_and_then_blocks_no_store(node: Node, postgres: Postgres) -> None:
    schema.index_attachments(node.database)
    with postgres.connect() as store, store.transaction():
        found = store.execute("select tablename from pg_indexes where indexname = 'hapacs_attachedfiles_uuid'")
        assert found.fetchall() == [("attachedfiles",)]
        # The lock of a store in progress: creating an index would wait for its end.
        store.execute("lock table attachedfiles in row exclusive mode")
        schema.index_attachments(node.database)


class TestMigrations:
    def test_a_repeated_migration_changes_nothing_and_many_can_run_at_once(
        self, configure: Callable[..., Settings], postgres: Postgres
    ) -> None:
        with postgres.connect() as connection:
            connection.execute("drop schema if exists hapacs cascade")
        loaded = configure()

        def migrate(_: int) -> tuple[str | None, str]:
            with Database(loaded.database, Metrics()) as database:
                return schema.migrate(database)

        with ThreadPoolExecutor(4) as threads:
            results = sorted(threads.map(migrate, range(4)), key=str)
        assert results.count((None, schema.expected())) == 1
        assert results.count((schema.expected(), schema.expected())) == 3

    def test_a_newer_schema_is_refused(self, node: Node, postgres: Postgres) -> None:
        with postgres.connect() as connection:
            connection.execute("update hapacs.schema_version set version_num = '9999'")
            try:
                with pytest.raises(SchemaError, match="9999, newer than"):
                    schema.migrate(node.database)
            finally:
                connection.execute("update hapacs.schema_version set version_num = %s", [schema.expected()])

    def test_before_the_first_migration_the_error_names_the_command(
        self, configure: Callable[..., Settings], postgres: Postgres
    ) -> None:
        with postgres.connect() as connection:
            connection.execute("drop schema if exists hapacs cascade")
        with Database(configure().database, Metrics()) as database:
            with pytest.raises(SchemaError, match="hapacs-node migrate"):
                Catalog(database).beat("pacs1", "store")
            schema.migrate(database)
            assert Catalog(database).beat("pacs1", "store") is None


class Proxy:
    """Forwards a connection to PostgreSQL, and can drop the answer to the next request."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.swallow = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._copy, args=(source, sink, answers), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(65536):
                if answers and self.swallow.is_set():
                    # The server did the work; its answer is lost together with the connection.
                    self.swallow.clear()
                    break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            end.close()

    def close(self) -> None:
        self.listener.close()


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[Proxy]:
    proxy = Proxy(("127.0.0.1", postgres.port))
    yield proxy
    proxy.close()


class TestLosses:
    @pytest.mark.usefixtures("active_rules")
    def test_a_lost_acknowledgement_of_the_commit_gives_one_row(
        self, make_node: Callable[..., Node], proxy: Proxy, postgres: Postgres
    ) -> None:
        node = make_node(database={"port": proxy.port})
        uuid = uuid4()
        proxy.swallow.set()
        node.storage.catalog.add(row(uuid))
        assert not proxy.swallow.is_set(), "the answer was not lost"
        with postgres.connect() as connection:
            assert connection.execute("select count(*) from hapacs.object where uuid = %s", [uuid]).fetchone() == (1,)
            assert connection.execute("select count(*) from hapacs.event where uuid = %s", [uuid]).fetchone() == (1,)
        assert node.metrics.registry.get_sample_value("hapacs_database_retries_total") == 1

    def test_terminated_connections_are_replaced(self, node: Node, postgres: Postgres) -> None:
        catalog = node.storage.catalog
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: catalog.add(row(uuid4())), range(20)))
        with postgres.connect() as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'hapacs%'"
            )
        began = time.monotonic()
        catalog.add(row(uuid4()))
        assert time.monotonic() - began < 2

    def test_a_server_that_hangs_fails_the_work_at_the_deadline(
        self, make_node: Callable[..., Node], postgres: Postgres
    ) -> None:
        node = make_node(database={"statement_timeout_s": 1, "deadline_s": 2, "connect_timeout_s": 2})
        uuid = uuid4()
        node.storage.catalog.add(row(uuid4()))
        # A wait for a lock is as long as a wait for a standby.
        with postgres.connect() as connection, connection.transaction():
            connection.execute("lock table hapacs.object in exclusive mode")
            began = time.monotonic()
            with pytest.raises(CatalogUnavailableError):
                node.storage.catalog.add(row(uuid))
            assert time.monotonic() - began < 4
        postgres.process.pause()
        began = time.monotonic()
        with pytest.raises(CatalogUnavailableError):
            node.storage.catalog.add(row(uuid))
        assert time.monotonic() - began < 5
        postgres.process.resume()
        node.storage.catalog.add(row(uuid))
        assert node.storage.catalog.find(uuid) is not None

    def test_a_commit_without_a_standby_is_no_acknowledgement(
        self, make_node: Callable[..., Node], postgres: Postgres
    ) -> None:
        node = make_node(database={"statement_timeout_s": 3, "deadline_s": 4})
        uuid = uuid4()

        def cancelled() -> bool:
            """End the wait for the standby; the server then reports success with a warning."""
            waiting = "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'"
            return connection.execute(waiting).fetchone() is not None

        with postgres.connect() as connection, ThreadPoolExecutor(1) as threads:
            _set(postgres, "synchronous_standby_names", "nobody")
            try:
                added = threads.submit(node.storage.catalog.add, row(uuid))
                wait_until(cancelled, "the wait for the standby", 10)
                with pytest.raises(CatalogUnavailableError):
                    added.result(timeout=10)
            finally:
                _set(postgres, "synchronous_standby_names", "")
        node.storage.catalog.add(row(uuid))
        assert node.storage.catalog.find(uuid) is not None

    def test_a_transaction_waits_for_a_killed_server(self, node: Node, postgres: Postgres) -> None:
        node.storage.catalog.add(row(uuid4()))
        postgres.kill()
        uuid = uuid4()
        with ThreadPoolExecutor(1) as threads:
            added = threads.submit(node.storage.catalog.add, row(uuid))
            time.sleep(0.5)
            assert not added.done()
            postgres.start()
            added.result(timeout=10)
        assert node.storage.catalog.find(uuid) is not None


class TestTwoServers:
    """A failover between two servers on the same port, like the members of a cluster."""

    @pytest.fixture
    def pair(self, directory: Path, _programs: None) -> Iterator[tuple[Postgres, Postgres]]:
        port = free_ports(1)[0]
        servers = (Postgres(directory, "127.0.0.2", port), Postgres(directory, "127.0.0.3", port))
        try:
            for server in servers:
                server.start()
            _lead(servers[0], servers[1])
            yield servers
        finally:
            for server in servers:
                server.kill()

    def test_the_leader_is_found_and_found_again_after_a_failover(
        self, make_node: Callable[..., Node], pair: tuple[Postgres, Postgres]
    ) -> None:
        first, second = pair
        hosts = [second.address, first.address, "127.0.0.4"]
        node = make_node(database={"hosts": hosts, "port": first.port})
        before, after = uuid4(), uuid4()
        node.storage.catalog.add(row(before))
        assert _has(first, before)
        # Demoted under the connection: the same session now refuses to write.
        _lead(second, first)
        with Database(node.settings.database, Metrics()) as database:
            schema.migrate(database)
        node.storage.catalog.add(row(after))
        assert _has(second, after)
        assert not _has(first, after)
        # Then the machine of the new leader dies.
        _lead(first, second)
        second.kill()
        last = uuid4()
        began = time.monotonic()
        node.storage.catalog.add(row(last))
        assert time.monotonic() - began < 10
        assert _has(first, last)


def _lead(leader: Postgres, follower: Postgres) -> None:
    _set(follower, "default_transaction_read_only", "on")
    _set(leader, "default_transaction_read_only", "off")


def _set(server: Postgres, name: str, value: str) -> None:
    with server.connect() as connection:
        connection.execute(f"alter system set {name} = '{value}'")
        connection.execute("select pg_reload_conf()")

    def settled() -> bool:
        with server.connect() as connection:
            return connection.execute(f"show {name}").fetchone() == (value,)

    wait_until(settled, f"the change of {name}", 10)


def _has(server: Postgres, uuid: UUID) -> bool:
    with server.connect() as connection:
        try:
            return connection.execute("select from hapacs.object where uuid = %s", [uuid]).fetchone() is not None
        except psycopg.errors.UndefinedTable:
            return False
