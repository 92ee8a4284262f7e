"""Two sites with the same made images: two databases of a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from hapacs.bench import compare as bench
from hapacs_node import settings
from hapacs_node.catalog import schema
from hapacs_node.catalog.database import Database
from hapacs_node.commitment.ranges import Ranges
from hapacs_node.metrics import Metrics
from hapacs_node.replication.locks import Locks
from hapacs_node.settings import Settings
from tests.storage.servers import PASSWORD, Postgres

# Several ranges of 100, and one that is not full.
IMAGES = 230
NAMES = ("object", "instance", "event", "task", "removal", "replication", "comparison", "study")
TABLES = ", ".join(["attachedfiles", *(f"hapacs.{name}" for name in NAMES)])
HERE, THERE = f"here_{uuid4().hex[:8]}", f"there_{uuid4().hex[:8]}"


@dataclass
class Site:
    """A site's database."""

    database: Database
    connection: psycopg.Connection[Any]

    def run(self, sql: str, *values: object) -> None:
        self.connection.execute(sql, values or None)

    def add(self, sop: str, *, digest: str = "ab" * 32, caller: str | None = "title:CT1", indexed: bool = True) -> None:
        """Store an image of the study 1.2.3."""
        uuid = uuid4()
        self.run(
            "insert into hapacs.object (uuid, digest, size, type, store, key, \"offset\", length, node, caller) "
            "values (%s, decode(%s, 'hex'), 12, 1, 'cas', %s, 0, 12, 'pacs1', %s)",
            uuid, digest, digest, caller,
        )  # fmt: skip
        self.run(
            "insert into hapacs.instance (uuid, study, series, sop, sop_class, described_as, shown, found) "
            "values (%s, '1.2.3', '1.2.3.4', %s, '1.2', 'test', '{}', '{}')",
            uuid, sop,
        )  # fmt: skip
        if indexed:
            self.run("insert into attachedfiles values (1, 1, %s, 12, 12, 1, '', '')", str(uuid))

    def sops(self, condition: str) -> set[str]:
        """Return the UIDs of made images."""
        return {str(row[0]) for row in self.connection.execute(f"select sop from made where {condition}")}  # noqa: S608

    def task(self, sop: str, state: str, reason: str = "") -> None:
        """Make the task that copies an image."""
        self.run(
            "insert into hapacs.task (kind, destination, uuid, study, series, sop, sop_class, transfer_syntax, size, "
            "node, rule, priority, state, reason) select 'replicate', 'other site', uuid, study, series, sop, '', '', "
            "12, 'pacs1', 'new-images', 1, %s, %s from hapacs.instance where sop = %s",
            state, reason, sop,
        )  # fmt: skip


def configure(postgres: Postgres, directory: Path, name: str) -> Settings:
    """Write the configuration of a node that uses a database; no archive is needed."""
    for file, content in {"password": PASSWORD, "cas.json": '{"access_key": "a", "secret_key": "b"}'}.items():
        (directory / file).write_text(content)
    document = {
        "node": "pacs1",
        "site": "main",
        "database": {
            "hosts": ["127.0.0.1"],
            "port": postgres.port,
            "name": name,
            "password_file": str(directory / "password"),
        },
        "das": {"root": str(directory), "minimum_free_bytes": 0, "must_be_mount": False},
        "cas": {
            "gateways": ["http://127.0.0.1:1"],
            "bucket": "bucket",
            "credentials_file": str(directory / "cas.json"),
        },
    }
    (directory / "node.json").write_text(json.dumps(document))
    return settings.load(directory / "node.json")


@contextmanager
def two_sites(postgres: Postgres, directory: Path) -> Iterator[tuple[Site, Site]]:
    """Make the images of two sites again, under other UUIDs at each."""
    found = []
    for name in (HERE, THERE):
        with postgres.connect() as connection:
            new = not connection.execute("select from pg_database where datname = %s", [name]).fetchall()
            if new:
                connection.execute(f"create database {name}")
        database = Database(configure(postgres, directory, name).database, Metrics())
        connection = postgres.connect(name)
        if new:
            schema.migrate(database)
            connection.execute(bench.INDEX)
        else:
            connection.execute(f"truncate {TABLES} cascade")
            connection.execute("drop table made; drop index if exists attachedfiles_uuid_idx")
        bench.fill(connection, IMAGES)
        found.append(Site(database, connection))
    try:
        yield found[0], found[1]
    finally:
        for site in found:
            site.database.close()
            site.connection.close()


def post(site: Site, locks: Locks | None = None) -> Callable[[bytes], bytes]:
    """Return what answers as the second site does."""
    answer = Ranges(site.database, locks).answer
    return lambda content: json.dumps(answer(content)).encode()
