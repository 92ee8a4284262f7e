"""Puts images into the archive: one by one, or those that come at the same moment together as a pack.

An object costs the archive far more than its bytes do: a place for it is asked for, its name, version and lock are
noted in the database, and every part of the archive is told. Images that come at the same moment share that.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from hapacs_node import log
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.errors import CasConflictError, CasMissingError
from hapacs_node.metrics import Metrics
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.packs import pack
from hapacs_node.storage.together import Together

_LOG = log.get("archive")
STORE = "cas"
"""The name of the archive store in the catalog."""
# What is larger gains nothing, and would hold the others of its pack up.
LARGEST_PACKED_BYTES = 2_000_000
# SeaweedFS keeps up to 8 MiB in one piece; with the headers of a pack it must not be more.
_PACK_BYTES = 8_000_000


@dataclass(frozen=True)
class Location:
    """Where in the archive an image lies.

    Attributes
    ----------
    key : str
        The object.
    offset : int
        Where in the object it begins, bytes.
    """

    key: str
    offset: int = 0


@dataclass
class Archive:
    """The archive, as the storage area sees it.

    Parameters
    ----------
    cas : Cas
        The store.
    known : callable
        Lists the catalog rows that have any of the given digests.
    writers : ThreadPoolExecutor
        Threads that each write one large image.
    packers : ThreadPoolExecutor
        Threads that each write what came together.
    metrics : Metrics
        Shows how many came together.
    """

    cas: Cas
    known: Callable[[Sequence[str]], list[StoredObject]]
    writers: ThreadPoolExecutor
    packers: ThreadPoolExecutor
    metrics: Metrics
    _together: Together[tuple[str, bytes], Location] = field(init=False)

    def __post_init__(self) -> None:
        sizes = (1, 2, 3, 4, 6, 8, 12, 16)
        self._images = self.metrics.histogram("hapacs_cas_images", "Images in a stored object of the CAS", sizes)
        self._together = Together(self._put_all, self.packers, lambda item: len(item[1]), _PACK_BYTES)

    def begin(self, digest: str, content: bytes) -> Future[Location]:
        """Have bytes archived.

        Returns
        -------
        Future
            Where they lie, once they are safe there; or the CasError or CatalogError that prevented it.
        """
        if len(content) > LARGEST_PACKED_BYTES:
            return self.writers.submit(lambda: self._put_all([(digest, content)])[0])
        return self._together.begin((digest, content))

    def _put_all(self, images: Sequence[tuple[str, bytes]]) -> list[Location]:
        contents = dict(images)
        with self.metrics.step("cas_put"):
            places = self._kept(contents)
            new = {digest: content for digest, content in contents.items() if digest not in places}
            if len(new) == 1:
                [(digest, content)] = new.items()
                places[digest] = Location(self.cas.put(digest, content))
            elif new:
                content, offsets = pack(new)
                key = self.cas.put_pack(content)
                places |= {digest: Location(key, offset) for digest, offset in offsets.items()}
        if new:
            self._images.observe(len(new))
        return [places[digest] for digest, _ in images]

    def _kept(self, contents: dict[str, bytes]) -> dict[str, Location]:
        """Find what the archive has already, as far as the catalog says so and the archive agrees."""
        places: dict[str, Location] = {}
        for row in self.known(list(contents)):
            if row.digest in places or row.store != STORE:
                continue
            try:
                self.cas.get(row.key, row.digest, row.offset, row.length)
            except (CasMissingError, CasConflictError) as error:
                _LOG.error(log.line("archive_copy_lost", digest=row.digest, error=error))
                continue
            places[row.digest] = Location(row.key, row.offset)
            self.cas.deduplicated.inc()
        return places
