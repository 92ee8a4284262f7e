"""Stores images in the archive: each as an object, or as one pack when they arrive at the same moment.

Most of the cost of an archive object does not depend on its size: the archive allocates a place, writes key, version
and lock to a database, and notifies its other servers. Images in a pack share this cost.
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
"""Name of the archive store in the catalog."""
# A larger image gains nothing, and would delay the other images of its pack.
LARGEST_PACKED_BYTES = 2_000_000
# SeaweedFS stores up to 8 MiB in one chunk; a pack with its headers must fit.
_PACK_BYTES = 8_000_000


@dataclass(frozen=True)
class Location:
    """The place of an image in the archive.

    Attributes
    ----------
    key : str
        The object.
    offset : int
        Its first byte within the object.
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
        Lists the catalog rows with any of the given digests.
    writers : ThreadPoolExecutor
        Threads that each write one large image.
    packers : ThreadPoolExecutor
        Threads that each write a batch of images.
    metrics : Metrics
        Shows how many images share an object.
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
        """Submit bytes to the archive.

        Returns
        -------
        Future
            Their place, once they are archived; or the CasError or CatalogError that prevented it.
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
        """Find images that the archive already has: those in the catalog that the archive returns correctly."""
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
