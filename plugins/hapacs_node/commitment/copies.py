"""Judges the images of a request: in the index, and whole on all copies of the archive, with a lock."""

import ssl
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.client import HTTPException
from uuid import UUID

from hapacs_node.catalog import commitment, objects
from hapacs_node.catalog.commitment import COMMITTED, Referenced
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.commitment.settings import Archive
from hapacs_node.errors import CasError, CasMissingError
from hapacs_node.storage import replicas
from hapacs_node.storage.archive import STORE
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.client import Lock

# Failure reasons (0008,1197), DICOM PS3.3 C.14.1.1.
PROCESSING_FAILURE = 0x0110
NO_SUCH_OBJECT = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119


@dataclass(frozen=True)
class Kept:
    """One image that the index has.

    Attributes
    ----------
    digest : str
        SHA-256 of its bytes; all copies in the archive have it when there is no problem.
    size : int
        Bytes.
    locked_until : datetime or None
        When the lock of its archive object ends; None without a lock.
    problem : str
        What is wrong; empty when all copies are whole and locked.
    """

    digest: str
    size: int
    locked_until: datetime | None
    problem: str


@dataclass(frozen=True)
class Copies:
    """Reads the copies of images behind the gateways.

    Parameters
    ----------
    database : Database
        Of index and catalog.
    cas : Cas
        Returns locks.
    archive : Archive
        The servers behind the gateways, and what is required of a copy.
    bucket : str
        Of the archive.
    """

    database: Database
    cas: Cas
    archive: Archive
    bucket: str

    def judge(self, images: Sequence[Referenced]) -> list[Referenced]:
        """Return the images with what was found; `failure` stays None where that may change without the caller.

        Raises
        ------
        NodeError
            When the database does not answer.
        """
        named = self.database.run(lambda c: commitment.places(c, [image.sop for image in images]))
        uuids = [uuid for files in named.values() for uuid in files]
        rows = {row.uuid: row for row in self.database.run(lambda c: objects.find_all(c, uuids))}
        wanted = {image.number: named.get(image.sop, {}) for image in images}
        problems = self._problems([rows[uuid] for uuid in uuids if uuid in rows], {})
        return [self._judged(image, wanted[image.number], problems) for image in images]

    def kept(self, sops: Sequence[str]) -> dict[str, list[Kept]]:
        """Read the copies of images again; return what the index has under each SOP Instance UID.

        Raises
        ------
        NodeError
            When the database does not answer.
        """
        named = self.database.run(lambda c: commitment.places(c, sops))
        uuids = [uuid for files in named.values() for uuid in files]
        rows = {row.uuid: row for row in self.database.run(lambda c: objects.find_all(c, uuids))}
        locks: dict[str, Lock] = {}
        problems = self._problems(list(rows.values()), locks)

        def one(row: StoredObject) -> Kept:
            lock = locks.get(row.key)
            until = None if lock is None or lock.until is None else datetime.fromisoformat(lock.until)
            return Kept(row.digest, row.size, until, problems.get(row.uuid, "it was not read"))

        return {sop: [one(rows[uuid]) for uuid in named.get(sop, ()) if uuid in rows] for sop in sops}

    @staticmethod
    def _judged(image: Referenced, files: Mapping[UUID, str | None], problems: Mapping[UUID, str]) -> Referenced:
        if not files:
            return replace(image, failure=NO_SUCH_OBJECT, problem="the index has no such image")
        if image.sop_class not in files.values():
            return replace(image, failure=CLASS_INSTANCE_CONFLICT, problem="the image has another SOP class")
        # The same UID in several patients' studies: the caller means one of them, so all must be whole.
        found = [problems.get(uuid, "the catalog has no row of it") for uuid in files]
        problem = next((one for one in found if one), "")
        return replace(image, failure=None if problem else COMMITTED, problem=problem)

    def _problems(self, rows: Sequence[StoredObject], locks: dict[str, Lock]) -> dict[UUID, str]:
        """Return what is wrong with the archive copies of each row; nothing for one that is whole.

        Parameters
        ----------
        rows
            The images.
        locks
            Gets the locks that were read, by key.
        """
        problems: dict[UUID, str] = {}
        by_key: dict[str, list[StoredObject]] = defaultdict(list)
        for row in rows:
            if row.tombstoned_at is not None:
                problems[row.uuid] = "it is marked as removed"
            elif row.store != STORE:
                problems[row.uuid] = "it is not in the archive"
            else:
                by_key[row.key].append(row)
        found: dict[str, tuple[str, list[StoredObject]]] = {}
        for key, members in by_key.items():
            version, problem = self._lock(key, locks)
            if problem:
                problems |= {row.uuid: problem for row in members}
            else:
                found[f"/buckets/{self.bucket}/{key}.versions/v_{version}"] = key, members
        return problems | self._hashed({path: members for path, (_, members) in found.items()})

    def _lock(self, key: str, locks: dict[str, Lock]) -> tuple[str, str]:
        """Return the version of an object, and what is wrong with its lock."""
        try:
            lock = locks[key] = self.cas.lock(key)
        except CasMissingError:
            return "", "the archive has no such object"
        except CasError as error:
            return "", f"the archive does not answer: {error}"
        return lock.version or "", lock_problem(lock, self.archive.mode, datetime.now(UTC))

    def _hashed(self, members: Mapping[str, Sequence[StoredObject]]) -> dict[UUID, str]:
        if not members:
            return {}
        arguments = {
            "filers": self.archive.filers,
            "volumes": self.archive.volumes,
            "objects": [
                {"path": path, "parts": [[row.offset, row.length, row.digest] for row in rows]}
                for path, rows in members.items()
            ],
        }
        key = "" if self.archive.token_key is None else self.archive.token_key.read_text().strip()
        try:
            answers = replicas.look(arguments, replicas.Servers(self._context()), key)
        except (OSError, HTTPException, ValueError, KeyError) as error:
            problem = f"copies can't be read: {type(error).__name__}"
            return {row.uuid: problem for rows in members.values() for row in rows}
        problems = {}
        for rows, parts in zip(members.values(), answers, strict=True):
            for number, row in enumerate(rows):
                problems[row.uuid] = "the archive has no such version" if parts is None else self._short(parts[number])
        return problems

    def _short(self, chunks: Sequence[Mapping[str, str]]) -> str:
        """Say why the copies of a row are too few; the chunk with the fewest decides."""
        if not chunks:
            return "its object has no bytes"
        for places in chunks:
            whole = [name for name, state in places.items() if state == replicas.WHOLE]
            if len(whole) < self.archive.copies or len(self.archive.zones_of(whole)) < self.archive.zones:
                others = ", ".join(f"{name}: {state}" for name, state in places.items() if state != replicas.WHOLE)
                return f"{len(whole)} of {self.archive.copies} copies are whole ({others})"
        return ""

    def _context(self) -> ssl.SSLContext | None:
        if (tls := self.archive.tls) is None:
            return None
        context = ssl.create_default_context(cafile=tls.authority)
        # The certificates of the archive carry the component's name (ADR 7).
        context.check_hostname = False
        context.load_cert_chain(tls.certificate, tls.key)
        return context


def lock_problem(lock: Lock, mode: str, now: datetime) -> str:
    """Say what is wrong with the lock of an object; nothing when it holds."""
    if lock.mode is None or lock.until is None:
        return "its object is not locked"
    if lock.mode != mode:
        return f"its object has the lock {lock.mode} instead of {mode}"
    if not lock.version:
        return "its object has no version"
    return "" if datetime.fromisoformat(lock.until) > now else "the lock of its object has ended"
