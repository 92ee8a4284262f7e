"""What a rebuild has listed, read and found, in a file of the node, so that it goes on after any interruption."""

import fcntl
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import batched
from pathlib import Path
from typing import NamedTuple

from hapacs_node.catalog.index import DICOM
from hapacs_node.errors import ConfigurationError, NodeError
from hapacs_node.manifest.document import Line
from hapacs_node.storage.client import Listed

SUPERSEDED = "superseded"
"""State of an image with whose UIDs the index has other bytes."""
_LISTED_AT_A_TIME = 5000
_CHECKED_AT_A_TIME = 5000

_TABLES = """
create table if not exists run (listed integer not null, ended integer not null);
create table if not exists object (
    key text primary key, size integer not null, stored_at real not null, done integer not null default 0
) without rowid;
create index if not exists object_next on object (done, stored_at desc, key);
create table if not exists image (
    digest blob primary key, key text not null, state text not null
) without rowid;
create table if not exists problem (
    key text not null, at integer not null, kind text not null, digest blob, detail text not null,
    primary key (key, at)
) without rowid;
create table if not exists listed (
    digest blob primary key, key text not null, at integer not null, removed text
) without rowid;
"""


class Kind(StrEnum):
    """What can be wrong with a part of the archive."""

    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    NOT_DICOM = "not-dicom"
    FOREIGN = "foreign"
    REFUSED = "refused"
    MISSING = "missing"
    DELETED = "deleted"


class Problem(NamedTuple):
    """A part of the archive that is not in the index.

    Attributes
    ----------
    key : str
        The archive object.
    at : int
        Where in it, bytes.
    kind : Kind
        ``damaged``: other bytes than were stored; ``unreadable``: the archive does not return it; ``not-dicom``: whole,
        but no image; ``foreign``: not made by this program; ``refused``: Orthanc does not store it; ``missing``: a
        manifest lists it, and the archive has it nowhere; ``deleted``: a manifest says that it was deleted on request,
        and it is in the index again.
    digest : str or None
        SHA-256 of the image that it should be.
    detail : str
        Why, for people.
    """

    key: str
    at: int
    kind: Kind
    digest: str | None
    detail: str


class Image(NamedTuple):
    """An image that was read whole.

    `state`: ``stored`` by this run; ``present`` in the index already; ``removed`` since it was stored again;
    ``superseded``, because the index has other bytes with its UIDs, which were archived later.
    """

    digest: str
    key: str
    state: str


@dataclass(frozen=True)
class Counts:
    """How far a rebuild is.

    Attributes
    ----------
    objects, done : int
        Archive objects that were listed, and those of them that are dealt with.
    images : dict
        Different images that were read whole, by what became of them.
    problems : dict
        Problems, by their kind.
    lost : int
        Problems whose image was read whole nowhere, or not stored.
    in_manifests : int
        Different images that manifests list as being in the index.
    """

    objects: int
    done: int
    images: dict[str, int]
    problems: dict[str, int]
    lost: int
    in_manifests: int


class Progress:
    """The file. Only one process at a time has it open.

    Parameters
    ----------
    path : Path
        The file; it is made unless it exists.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False)
        # Survives the end of the process at any moment. What a power failure takes is done again.
        self._database.execute("pragma journal_mode = wal")
        self._database.execute("pragma synchronous = normal")
        self._database.executescript(_TABLES)

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator["Progress"]:
        """Open the file, or make it.

        Raises
        ------
        ConfigurationError
            When it can't be opened.
        NodeError
            When another rebuild has it open.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.with_suffix(".lock").open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise NodeError("a rebuild is running on this node already: wait until it ends") from None
                progress = cls(path)
                try:
                    yield progress
                finally:
                    progress._database.close()
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(f"{path}: the progress of the rebuild can't be kept there: {error}") from error

    @staticmethod
    def glance(path: Path) -> tuple[int, int]:
        """Return the numbers of archive objects and of those that are done, also while a rebuild runs."""
        if not path.exists():
            return 0, 0
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                objects, done = database.execute("select count(*), count(*) filter (where done) from object").fetchone()
        except sqlite3.Error as error:
            raise NodeError(f"{path}: the progress of the rebuild can't be read: {error}") from error
        return objects, done

    def begin(self, listed: Callable[[], Iterable[Listed]]) -> bool:
        """Go on with the run that was interrupted, or list the archive for a new one.

        What could not be read or stored by the interrupted run is tried again.

        Returns
        -------
        bool
            Whether an interrupted run goes on.
        """
        if self._count("select count(*) from run where listed and not ended"):
            again = (Kind.UNREADABLE, Kind.REFUSED)
            with self._database as change:
                change.execute(
                    "update object set done = 0 where key in (select key from problem where kind in (?, ?))", again
                )
                change.execute("delete from problem where kind in (?, ?)", again)
            return True
        with self._database as change:
            for table in ("run", "object", "image", "problem", "listed"):
                change.execute(f"delete from {table}")  # noqa: S608 - constants
            change.execute("insert into run (listed, ended) values (0, 0)")
        for some in batched(listed(), _LISTED_AT_A_TIME):
            rows = [(one.key, one.size, one.stored_at.timestamp()) for one in some]
            with self._database as change:
                # After a failure of a gateway an object may be listed twice.
                change.executemany("insert or replace into object (key, size, stored_at) values (?, ?, ?)", rows)
        with self._database as change:
            change.execute("update run set listed = 1")
        return False

    def end(self) -> None:
        """Record that the run is over: the next one lists the archive again."""
        with self._database as change:
            change.execute("update run set ended = 1")

    def waiting(self, limit: int) -> list[Listed]:
        """Return the next objects, those first that were archived last."""
        found = self._database.execute(
            "select key, size, stored_at from object where done = 0 order by stored_at desc, key limit ?", [limit]
        )
        return [Listed(key, size, datetime.fromtimestamp(at, UTC)) for key, size, at in found]

    def done(self, objects: Sequence[Listed], images: Sequence[Image], problems: Sequence[Problem]) -> None:
        """Record what became of some objects, in one transaction."""
        with self._database as change:
            change.executemany(
                "insert or replace into problem values (?, ?, ?, ?, ?)",
                [one._replace(digest=one.digest and bytes.fromhex(one.digest)) for one in problems],  # type: ignore[arg-type]
            )
            # Of several copies the first one counts.
            change.executemany(
                "insert or ignore into image values (?, ?, ?)",
                [(bytes.fromhex(image.digest), image.key, image.state) for image in images],
            )
            change.executemany("update object set done = 1 where key = ?", [(one.key,) for one in objects])

    def images(self) -> Iterator[list[str]]:
        """Yield the digests of all images that were read whole, in batches."""
        after = b""
        while found := self._database.execute(
            "select digest from image where digest > ? and state <> ? order by digest limit ?",
            [after, SUPERSEDED, _CHECKED_AT_A_TIME],
        ).fetchall():
            after = found[-1][0]
            yield [digest.hex() for (digest,) in found]

    def again(self, digests: Sequence[str]) -> None:
        """Have the objects of these images read again."""
        with self._database as change:
            for digest in map(bytes.fromhex, digests):
                change.execute(
                    "update object set done = 0 where key = (select key from image where digest = ?)", [digest]
                )
                change.execute("delete from image where digest = ?", [digest])

    def list_(self, lines: Iterable[Line]) -> None:
        """Note what a part of a manifest says. Of a digest the last line counts that says that it is in the index."""
        with self._database as change:
            for line in lines:
                if line.type != DICOM:
                    continue
                on_conflict = "update set removed = null" if line.removed is None else "update set removed = ?4"
                change.execute(
                    f"insert into listed values (?1, ?2, ?3, ?4) on conflict (digest) do {on_conflict}",  # noqa: S608
                    [bytes.fromhex(line.digest), line.key, line.offset, line.removed],
                )

    def compare(self) -> None:
        """Record what manifests list and no object of the archive had, and what was deleted and is back."""
        with self._database as change:
            change.execute("delete from problem where kind in (?, ?)", (Kind.MISSING, Kind.DELETED))
            change.execute(
                "insert or ignore into problem select key, at, ?, digest, ? from listed where removed is null "
                "and digest not in (select digest from image) "
                "and digest not in (select digest from problem where digest is not null)",
                (Kind.MISSING, "a manifest lists it, and the archive has it nowhere"),
            )
            change.execute(
                "insert or ignore into problem select listed.key, at, ?, digest, ? "
                "from listed join image using (digest) where removed = 'removed' and state in ('stored', 'present')",
                (Kind.DELETED, "it was deleted on request, and is in the index again: delete it again"),
            )

    def counts(self) -> Counts:
        """Count what is done."""
        states = self._database.execute("select state, count(*) from image group by state")
        kinds = self._database.execute("select kind, count(*) from problem group by kind")
        return Counts(
            objects=self._count("select count(*) from object"),
            done=self._count("select count(*) from object where done"),
            images=dict(states.fetchall()),
            problems=dict(kinds.fetchall()),
            lost=self._count(
                "select count(*) from problem left join image using (digest) "
                "where image.digest is null and kind in ('damaged', 'unreadable', 'refused', 'missing')"
            ),
            in_manifests=self._count("select count(*) from listed where removed is null"),
        )

    def problems(self, limit: int) -> list[tuple[Problem, bool]]:
        """Return problems, each with whether its image was read whole elsewhere."""
        found = self._database.execute(
            "select problem.*, image.digest is not null from problem left join image on image.digest = problem.digest "
            "order by problem.key, problem.at limit ?",
            [limit],
        )
        return [
            (Problem(key, at, Kind(kind), digest and digest.hex(), detail), bool(whole))
            for key, at, kind, digest, detail, whole in found
        ]

    def _count(self, query: str) -> int:
        (count,) = self._database.execute(query).fetchone()
        return int(count)
