"""Reports the copies of an instance or object, and reads each to check that it is whole."""

from dataclasses import asdict, dataclass
from typing import Literal
from uuid import UUID

from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.index import Origin
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.errors import (
    CasConflictError,
    CasDamagedError,
    CasError,
    CasMissingError,
    DasCorruptError,
    DasError,
    DasMissingError,
)
from hapacs_node.storage import derived, names
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.das import Das

State = Literal["whole", "missing", "damaged", "unknown"]


@dataclass(frozen=True)
class CopyState:
    """One copy of some bytes.

    Attributes
    ----------
    state : str
        ``unknown`` when the place doesn't answer.
    detail : str
        The problem, or empty.
    size : int or None
        Bytes.
    retention_mode, retained_until : str or None
        The archive's lock on it, time in ISO 8601.
    """

    state: State
    detail: str = ""
    size: int | None = None
    retention_mode: str | None = None
    retained_until: str | None = None

    def document(self) -> dict[str, object]:
        """Describe it for JSON."""
        return {"present": self.state in {"whole", "damaged"}, "whole": self.state == "whole", **asdict(self)}


@dataclass
class Lookup:
    """Reports from the catalog, the index, this node's DAS and the archive.

    Parameters
    ----------
    node : str
        This node's name. Only this node's DAS is checked.
    das, cas, catalog
        The places to read.
    """

    node: str
    das: Das
    cas: Cas
    catalog: Catalog

    def by_digest(self, digest: str) -> dict[str, object]:
        """Report on all attachments that have these bytes.

        Parameters
        ----------
        digest : str
            SHA-256, 64 hexadecimal digits.

        Returns
        -------
        dict
            ``{"digest", "node", "ok", "catalog": [...], "das": {...}, "cas": {...}}``, fit for JSON. `ok` means: in the
            catalog and the archive copy is whole. A missing DAS copy is no loss, it heals when read.
        """
        names.checked_digest(digest)
        rows = self.catalog.by_digest(digest)
        acknowledged = self.catalog.acknowledged([row.uuid for row in rows])
        das = self._das(rows[0]) if rows else CopyState("missing")
        cas = self._cas(rows[0]) if rows else CopyState("missing")
        return {
            "digest": digest,
            "node": self.node,
            "ok": bool(rows) and cas.state == "whole" and das.state in {"whole", "missing"},
            "catalog": [_row(row, acknowledged) for row in rows],
            "das": das.document(),
            "cas": cas.document(),
        }

    def by_instance(self, name: str) -> list[dict[str, object]]:
        """Report on every attachment of an instance that is archived.

        Parameters
        ----------
        name : str
            SOP Instance UID or Orthanc's identifier.

        Returns
        -------
        list of dict
            One per attachment: ``{"instance", "uuid", "type", "sop", "series", "study", "sop_class", "transfer_syntax",
            "received": {"at", "protocol", "calling_title", "called_title", "via"}}`` and what `by_digest` reports.
        """
        found = self.catalog.instances(name)
        origins = self.catalog.origins(list(found)) if found else {}
        reports = []
        for public_id, attachments in sorted(found.items()):
            for attachment in attachments:
                if attachment.type in derived.TYPES:
                    continue
                about = {"instance": public_id, "uuid": str(attachment.uuid), "type": attachment.type}
                origin = origins.get(public_id)
                reports.append({**about, **_origin(origin), **self._attachment(attachment.uuid)})
        return reports

    def _attachment(self, uuid: UUID) -> dict[str, object]:
        row = self.catalog.find(uuid)
        if row is None:
            return {"ok": False, "node": self.node, "digest": None, "catalog": []}
        return self.by_digest(row.digest)

    def _das(self, row: StoredObject) -> CopyState:
        try:
            content = self.das.read(row.digest, row.size)
        except DasMissingError:
            return CopyState("missing")
        except DasCorruptError as error:
            return CopyState("damaged", str(error))
        except DasError as error:
            return CopyState("unknown", str(error))
        return CopyState("whole", size=len(content))

    def _cas(self, row: StoredObject) -> CopyState:
        try:
            content = self.cas.get(row.key, row.digest, row.offset, row.length)
            lock = self.cas.lock(row.key)
        except CasMissingError:
            return CopyState("missing")
        except (CasConflictError, CasDamagedError) as error:
            return CopyState("damaged", str(error))
        except CasError as error:
            return CopyState("unknown", str(error))
        return CopyState("whole", size=len(content), retention_mode=lock.mode, retained_until=lock.until)


def _origin(origin: Origin | None) -> dict[str, object]:
    if origin is None:
        # It was removed between the two queries.
        return {}
    return {
        "sop": origin.sop,
        "series": origin.series,
        "study": origin.study,
        "sop_class": origin.sop_class,
        "transfer_syntax": origin.transfer_syntax,
        "received": {
            "at": None if origin.received_at is None else origin.received_at.isoformat(),
            "protocol": origin.protocol,
            "calling_title": origin.calling_title,
            "called_title": origin.called_title,
            "via": origin.via,
        },
    }


def _row(row: StoredObject, acknowledged: set[UUID]) -> dict[str, object]:
    return {
        "uuid": str(row.uuid),
        "size": row.size,
        "type": row.type,
        "store": row.store,
        "key": row.key,
        "offset": row.offset,
        "length": row.length,
        "in_pack": row.key.startswith(f"{names.PACKS}/"),
        "node": row.node,
        "stored_at": None if row.stored_at is None else row.stored_at.isoformat(),
        "tombstoned_at": None if row.tombstoned_at is None else row.tombstoned_at.isoformat(),
        "acknowledged": row.uuid in acknowledged,
    }
