"""Orthanc's index with one instance, and the catalog, in a real PostgreSQL."""

from __future__ import annotations

from typing import Any

import psycopg

NAME = "rows"

# orthanc-postgresql 5.0, without the triggers, which are disabled while rows are added.
INDEX = """
create table resources (internalid bigserial primary key, resourcetype int not null, publicid varchar(64) not null,
    parentid bigint references resources);
create table maindicomtags (id bigint, taggroup int, tagelement int, value text,
    primary key (id, taggroup, tagelement));
create table dicomidentifiers (id bigint, taggroup int, tagelement int, value text,
    primary key (id, taggroup, tagelement));
create table metadata (id bigint, type int, value text, revision int, primary key (id, type));
create table attachedfiles (id bigint, filetype int, uuid varchar(64) not null, compressedsize bigint,
    uncompressedsize bigint, compressiontype int, uncompressedhash varchar(40), compressedhash varchar(40),
    revision int, primary key (id, filetype));
create table changes (seq bigserial primary key, changetype int, internalid bigint, resourcetype int, date varchar(64));
create table patientrecyclingorder (seq bigserial primary key, patientid bigint);
create table globalintegers (key int primary key, value bigint);
insert into globalintegers values (0, 130), (1, 130), (2, 1), (3, 1), (4, 1), (5, 1), (6, 4);
insert into resources (resourcetype, publicid, parentid) values (0, 'p', null), (1, 't', 1), (2, 's', 2), (3, 'i', 3);
insert into maindicomtags values (1, 16, 32, 'PATTERN'), (2, 32, 13, '1.2.1'), (2, 16, 32, 'PATTERN'),
    (3, 32, 14, '1.2.2'), (3, 8, 96, 'CT'), (4, 8, 24, '1.2.3'), (4, 32, 19, '1');
insert into dicomidentifiers values (1, 16, 32, 'PATTERN'), (2, 32, 13, '1.2.1'), (2, 16, 32, 'PATTERN'),
    (3, 32, 14, '1.2.2'), (4, 8, 24, '1.2.3');
insert into metadata values (1, 7, 'now', 0), (4, 2, 'now', 0), (4, 9, '1.2.840.10008.1.2.1', 0);
insert into changes (changetype, internalid, resourcetype, date)
    values (2, 4, 3, 'now'), (4, 3, 2, 'now'), (5, 2, 1, 'now'), (3, 1, 0, 'now');
insert into patientrecyclingorder (patientid) values (1);
insert into attachedfiles values (4, 1, '{dicom}', 100, 100, 1, 'h', 'h', 0),
    (4, 3, '{derived}', 30, 30, 1, 'h', 'h', 0);
"""
CATALOGUED = """
insert into hapacs.object (uuid, digest, size, type, store, key, "offset", length, node)
    values ('{dicom}', sha256('x'), 100, 1, 'cas', 'sha256/aa/bb/aabb', 0, 100, 'pacs1');
"""
TABLES = (
    "resources", "maindicomtags", "dicomidentifiers", "metadata", "attachedfiles", "changes", "patientrecyclingorder",
    "globalintegers", "hapacs.object",
)  # fmt: skip


class Server:
    """The only node of a site, reached without SSH."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def rows(self, sql: str, _timeout_s: float = 60) -> list[str]:
        cursor = self.connection.execute(sql)
        found: list[str] = []
        while True:
            if cursor.description is not None:
                found = ["|".join(_shown(value) for value in row) for row in cursor]
            if not cursor.nextset():
                return found

    def content(self) -> dict[str, list[Any]]:
        return {table: sorted(map(str, self.connection.execute(f"table {table}"))) for table in TABLES}


def _shown(value: object) -> str:
    return {True: "t", False: "f"}[value] if isinstance(value, bool) else str(value)
