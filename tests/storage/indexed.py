"""Images that a node stored and Orthanc has in its index, on a real PostgreSQL with Orthanc's tables."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

import psycopg
from pydicom import Dataset, dcmread

from hapacs_node.catalog.removals import Removal
from hapacs_node.node import Node
from hapacs_node.record import identity


@dataclass
class Indexed:
    """Stores images as Orthanc does."""

    node: Node
    connection: psycopg.Connection[Any]

    def store(self, content: bytes, caller: str | None = "title:CT1") -> UUID:
        """Store an image and put it into the index, below its patient, study and series."""
        made = dcmread(BytesIO(content), force=True)
        uuid = uuid4()
        self.node.storage.create(str(uuid), 1, content, caller)
        patient = self._resource(0, None, (16, 32), str(made.PatientID))
        study = self._resource(1, patient, (32, 13), str(made.StudyInstanceUID), made)
        series = self._resource(2, study, (32, 14), str(made.SeriesInstanceUID))
        instance = self._resource(3, series, (8, 24), str(made.SOPInstanceUID))
        syntax = str(made.file_meta.TransferSyntaxUID)
        self.connection.execute("insert into metadata values (%s, 9, %s, 0)", [instance, syntax])
        self.connection.execute(
            "insert into attachedfiles values (%s, 1, %s, %s, %s, 1, '', '', 0)",
            [instance, str(uuid), len(content), len(content)],
        )
        self.connection.commit()
        return uuid

    def remove(self, path: str) -> None:
        """Remove a series as Orthanc does: its images get tombstones, and leave the index."""
        _, _, name = path.rpartition("/")
        rows = self.connection.execute(
            "select i.internalid, a.uuid from resources s join resources i on i.parentid = s.internalid "
            "join attachedfiles a on a.id = i.internalid where s.publicid = %s",
            [name],
        ).fetchall()
        for instance, uuid in rows:
            about = identity.of(self.node.storage.reader.read(UUID(uuid)))
            removal = Removal("removed", "user:anna", about.study, about.series, about.sop)
            self.node.storage.remove(uuid, 1, removal)
            for table, column in (
                ("attachedfiles", "id"), ("dicomidentifiers", "id"), ("metadata", "id"), ("resources", "internalid"),
            ):  # fmt: skip
                self.connection.execute(f"delete from {table} where {column} = %s", [instance])  # noqa: S608
        self.connection.commit()

    def _resource(
        self, level: int, parent: int | None, tag: tuple[int, int], value: str, made: Dataset | None = None
    ) -> int:
        found = self.connection.execute(
            "select r.internalid from resources r join dicomidentifiers d on d.id = r.internalid "
            "where r.resourcetype = %s and r.parentid is not distinct from %s and d.value = %s",
            [level, parent, value.upper()],
        ).fetchone()
        if found is not None:
            return int(found[0])
        row = self.connection.execute(
            "insert into resources (resourcetype, publicid, parentid) values (%s, %s, %s) returning internalid",
            [level, uuid4().hex, parent],
        ).fetchone()
        assert row is not None
        number = int(row[0])
        self.connection.execute("insert into dicomidentifiers values (%s, %s, %s, %s)", [number, *tag, value.upper()])
        if made is not None:
            self.connection.execute("insert into maindicomtags values (%s, 16, 32, %s)", [number, str(made.PatientID)])
        return number
