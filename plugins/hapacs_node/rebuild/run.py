"""Stores every image of the archive again through Orthanc, whose index and our catalog are gone.

The images that were archived last come first: of several versions with the same UIDs the newest one is then in the
index before an older one is read, also when modalities store meanwhile. Images that the index has are not touched.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain

from hapacs_node import log
from hapacs_node.catalog import rebuild
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.rebuild import Place, State
from hapacs_node.errors import (
    CasConflictError,
    CasDamagedError,
    CasMissingError,
    CasUnavailableError,
    CatalogUnavailableError,
    NodeError,
    OrthancUnavailableError,
    RefusedError,
)
from hapacs_node.manifest.run import Manifests
from hapacs_node.rebuild.contents import Contents, Source
from hapacs_node.rebuild.progress import SUPERSEDED, Image, Kind, Problem, Progress
from hapacs_node.record import identity
from hapacs_node.record.identity import Identity
from hapacs_node.storage import names
from hapacs_node.storage.client import Listed
from hapacs_node.storage.listing import listed

_LOG = log.get("rebuild")
_READERS, _STORERS = 8, 16
_ROUNDS = 3
_PAGE = 2000
# What is read together, and is in memory twice: while it is stored, the next part is read.
_PART_OBJECTS, _PART_BYTES = 64, 64_000_000
_PREAMBLE = slice(128, 132)
# A failover lasts up to a minute; what still fails then waits for the next start.
_PAUSES_S = (1, 2, 5, 10, 20, 30)
_UNAVAILABLE = (CasUnavailableError, CatalogUnavailableError, OrthancUnavailableError)


@dataclass(frozen=True)
class _Candidate:
    place: Place
    content: bytes


@dataclass
class Rebuild:
    """Rebuilds index and catalog.

    Parameters
    ----------
    node : str
        This node's name, for the catalog.
    catalog : Catalog
        Catalog and index.
    source : Source
        Reads the archive.
    progress : Progress
        What is done.
    store : callable
        Has Orthanc store a DICOM file; raises NodeError when it does not.
    manifests : Manifests
        Say what the archive must have.
    sleep : callable
        Replaced in tests.
    """

    node: str
    catalog: Catalog
    source: Source
    progress: Progress
    store: Callable[[bytes], None]
    manifests: Manifests
    sleep: Callable[[float], None] = time.sleep
    images: int = field(default=0, init=False)
    """Images that this process has dealt with."""
    objects: int = field(default=0, init=False)
    """Archive objects of the whole run."""
    done: int = field(default=0, init=False)
    """Those of them that are dealt with, by an interrupted run too."""

    def run(self) -> None:
        """Rebuild until every image of the archive that can be read is in the index, or was removed from it again.

        Raises
        ------
        NodeError
            When archive, database or Orthanc do not answer for longer than a failover. The next run goes on.
        """
        if not self.catalog.database.run(rebuild.ready):
            raise NodeError(
                "Orthanc or `hapacs-node migrate` have not created their tables yet: start Orthanc on this node, "
                "then run `hapacs-node migrate`"
            )
        resumed = self.progress.begin(self._listed)
        counts = self.progress.counts()
        self.objects, self.done = counts.objects, counts.done
        _LOG.warning(log.line("rebuild_began", resumed=resumed, objects=counts.objects, done=counts.done))
        for _ in range(_ROUNDS):
            with ThreadPoolExecutor(_READERS) as readers, ThreadPoolExecutor(_STORERS) as storers:
                while page := self.progress.waiting(_PAGE):
                    self._store_all(list(_parts(page)), readers, storers)
            if not (missing := self._missing()):
                break
        else:
            raise NodeError(f"{missing} images are not in the index after they were stored: read Orthanc's journal")
        self._compare()
        self.progress.end()
        counts = self.progress.counts()
        _LOG.warning(log.line("rebuild_ended", objects=counts.objects, lost=counts.lost, **counts.images))

    def _listed(self) -> Iterator[Listed]:
        cas = self.source.cas
        for folder in (names.PACKS, names.OBJECTS):
            yield from listed(cas.gateways, folder, cas.deadline_s)

    def _store_all(
        self, parts: Sequence[Sequence[Listed]], readers: ThreadPoolExecutor, storers: ThreadPoolExecutor
    ) -> None:
        def begin(number: int) -> list[Future[Contents]]:
            some = parts[number] if number < len(parts) else ()
            return [readers.submit(self._patiently, partial(self.source.read, one)) for one in some]

        ahead = begin(0)
        for number in range(len(parts)):
            contents = [one.result() for one in ahead]
            ahead = begin(number + 1)
            self._store_part(contents, storers)

    def _store_part(self, contents: Sequence[Contents], storers: ThreadPoolExecutor) -> None:
        problems = [problem for one in contents for problem in one.problems]
        # In a pack the last image is the newest one.
        whole = [image for one in contents for image in reversed(one.images)]
        images = {place.digest: (place, content) for place, content in reversed(whole)}
        known = self._states(list(images))
        done = [Image(digest, images[digest][0].key, state) for digest, state in known.items()]
        rescued = {digest for one in contents for digest in one.rescued}
        versions: dict[Identity, list[_Candidate]] = {}
        for found, content in (one for one in whole if one[0].digest not in known):
            if images.pop(found.digest, None) is None:
                continue
            place = self._archived_again(found, content) if found.digest in rescued else found
            about = identity.of(content)
            if content[_PREAMBLE] != b"DICM" and about.sop is None:
                problems.append(Problem(place.key, place.offset, Kind.NOT_DICOM, place.digest, "no DICOM file"))
            else:
                versions.setdefault(about, []).append(_Candidate(place, content))
        places = [one.place for some in versions.values() for one in some]
        self._query(partial(rebuild.register, places=places, node=self.node))
        for outcome in chain.from_iterable(storers.map(self._store_versions, versions.items())):
            if isinstance(outcome, Image):
                done.append(outcome)
            else:
                problems.append(outcome)
        self._query(partial(rebuild.forget, places=[*places, *(place for place, _ in whole)]))
        self.progress.done([one.object for one in contents], done, problems)
        self.images += len(done)
        self.done += len(contents)

    def _archived_again(self, damaged: Place, content: bytes) -> Place:
        """Archive an image again whose archive copy is damaged: the key of an image alone can't be written again."""
        key = self._patiently(lambda: self.source.cas.put_again(damaged.digest, content))
        return replace(damaged, key=key, offset=0)

    def _store_versions(self, versions: tuple[Identity, Sequence[_Candidate]]) -> list[Image | Problem]:
        about, candidates = versions
        return [self._store(about, one) for one in candidates]

    def _store(self, about: Identity, one: _Candidate) -> Image | Problem:
        place = one.place
        if about.study is not None and about.series is not None and about.sop is not None:
            uids = about.study, about.series, about.sop
            present = self._patiently(lambda: self.catalog.present(*uids))
            # An image of the index without a row is stored again, so that it has one.
            if any(other.digest not in {None, place.digest} for other in present):
                self._query(partial(rebuild.keep, place=place, about=about, node=self.node))
                return Image(place.digest, place.key, SUPERSEDED)
        try:
            self._patiently(lambda: self.store(one.content), NodeError)
        except _UNAVAILABLE:
            raise
        except NodeError as error:
            _LOG.error(log.line("image_refused", digest=place.digest, key=place.key, error=error))
            return Problem(place.key, place.offset, Kind.REFUSED, place.digest, str(error))
        return Image(place.digest, place.key, "stored")

    def _missing(self) -> int:
        """Look all images up again, and have those read again that the index does not have."""
        missing = 0
        for digests in self.progress.images():
            states = self._states(digests)
            again = [digest for digest in digests if digest not in states]
            self.progress.again(again)
            missing += len(again)
        return missing

    def _compare(self) -> None:
        """Compare what was found with the manifests."""
        for part in chain.from_iterable(self._patiently(self.manifests.complete).values()):
            try:
                lines = self._patiently(partial(self.manifests.lines, part))
            except (CasConflictError, CasMissingError, CasDamagedError) as error:
                # What the other ones list can be compared all the same.
                self.progress.done((), (), [Problem(part.key, 0, Kind.UNREADABLE, None, str(error))])
                continue
            self.progress.list_(lines)
        self.progress.compare()

    def _states(self, digests: Sequence[str]) -> Mapping[str, State]:
        return self._query(partial(rebuild.states, digests=digests))

    def _query[T](self, work: Callable[[Connection], T]) -> T:
        return self._patiently(lambda: self.catalog.database.run(work))

    def _patiently[T](self, action: Callable[[], T], *more: type[NodeError]) -> T:
        """Repeat what fails while a place does not answer, as long as a failover lasts."""
        waits: tuple[type[NodeError], ...] = (*_UNAVAILABLE, *more)
        for pause_s in _PAUSES_S:
            try:
                return action()
            except RefusedError:
                raise
            except waits as error:
                _LOG.warning(log.line("rebuild_waits", seconds=pause_s, error=error))
            self.sleep(pause_s)
        return action()


def _parts(page: Sequence[Listed]) -> Iterator[list[Listed]]:
    part: list[Listed] = []
    for one in page:
        if part and (len(part) == _PART_OBJECTS or sum(other.size for other in part) + one.size > _PART_BYTES):
            yield part
            part = []
        part.append(one)
    if part:
        yield part
