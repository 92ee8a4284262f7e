"""The archive copy: objects in a locked S3 bucket, named by the digest of their content."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from obstore.exceptions import AlreadyExistsError

from hapacs_node import log
from hapacs_node.errors import CasConflictError, CasDamagedError, CasError, CasMissingError, CasUnavailableError
from hapacs_node.metrics import Metrics
from hapacs_node.storage import names
from hapacs_node.storage.client import Client, Lock, Recorded
from hapacs_node.storage.failures import FAILURES, brief, every, undone
from hapacs_node.storage.gateways import Gateways

_LOG = log.get("cas")
_ORDINARY_BYTES = 32_000_000
_SLOWEST_BYTES_PER_S = 10_000_000
_UNWRITTEN_S = 60


def patience_s(size: int) -> int:
    """Return how much longer than usual a request with that many bytes may take.

    Parameters
    ----------
    size : int
        Bytes.

    Returns
    -------
    int
        Seconds: 0 for an ordinary image, and for a large one its size at 10 MB/s. Only powers of two, because every
        time-out needs its own client.
    """
    return 0 if size <= _ORDINARY_BYTES else 1 << (size // _SLOWEST_BYTES_PER_S).bit_length()


@dataclass
class Cas:
    """The archive store, through the gateways in order of preference.

    Parameters
    ----------
    gateways : Gateways
        Clients in order of preference.
    deadline_s : float
        Longest time for one ordinary object, over all gateways, seconds.
    metrics : Metrics
        Counts retries and answers that needed a second gateway.
    damaged_after_s : float
        Time after which an object counts as damaged when the gateways answer other requests, seconds. With one more
        request it is below the 10 s after which a reader gets an answer.
    """

    gateways: Gateways[Client]
    deadline_s: float
    metrics: Metrics
    damaged_after_s: float = 6

    def __post_init__(self) -> None:
        declare = self.metrics.counter
        self._unwritten_at: float | None = None
        self.deduplicated = declare("hapacs_cas_deduplicated", "Objects that the CAS already had")
        self._retries = declare("hapacs_cas_retries", "Requests to the CAS that were retried", ["operation"])
        self._doubted = declare(
            "hapacs_cas_doubted", "Answers of a gateway that another gateway had to confirm", ["reason"]
        )

    def allowed_s(self, size: int) -> float:
        """Return how long storing or reading that many bytes may take, seconds."""
        return self.deadline_s + patience_s(size)

    def put(self, digest: str, content: bytes) -> str:
        """Archive bytes under their digest, once.

        A gateway locks the key while it stores the object. When the gateway dies, the key stays locked for about 15 s,
        and a sender retries the image at once. So after a time-out, or when the object is not found after it was
        stored, the next attempt uses another key. An object that the first request may still have stored is referred
        to by nothing.

        Returns
        -------
        str
            The object's key. The gateway checked the digest and finds the object, or the object existed with this
            digest.

        Raises
        ------
        CasConflictError
            When the key holds other bytes.
        CasUnavailableError
            When no gateway stored it before the deadline.
        """
        key = names.cas_key(digest)
        spare: str | None = None

        def attempt(client: Client) -> str:
            nonlocal spare
            used = spare or key
            try:
                if spare is None:
                    client.create(key, content, digest)
                else:
                    client.put(spare, content)
            except AlreadyExistsError:
                self._confirm(client, key, digest, len(content))
                return key
            except TimeoutError:
                spare = names.spare_key(digest)
                raise
            try:
                self._find(client, used, len(content))
            except FileNotFoundError:
                spare = names.spare_key(digest)
                raise
            return used

        return self._written(attempt, len(content))

    def put_pack(self, content: bytes) -> str:
        """Archive a pack under a new key.

        The request is unconditional, which saves a third of an object's cost. A retry adds a version with equal bytes.

        Returns
        -------
        str
            The object's key. The gateway checked the digest and finds the object.

        Raises
        ------
        CasUnavailableError
            When no gateway stored it before the deadline.
        """
        return self._put_new(names.pack_key(), content)

    def put_manifest(self, key: str, content: bytes) -> None:
        """Archive a part of a manifest under its key, which no other object has.

        Raises
        ------
        CasUnavailableError
            When no gateway stored it before the deadline.
        """
        self._put_new(key, content)

    def put_again(self, digest: str, content: bytes) -> str:
        """Archive bytes under a new key, in place of an object that is lost or damaged.

        Its former key is not used again: a gateway may still answer that it exists.

        Returns
        -------
        str
            The object's key. The gateway checked the digest and finds the object.

        Raises
        ------
        CasUnavailableError
            When no gateway stored it before the deadline.
        """
        return self._put_new(names.spare_key(digest), content)

    def get(self, key: str, digest: str, offset: int, length: int) -> bytes:
        """Read bytes and check them; see `get_parts`."""
        return self.get_parts(key, [(digest, offset, length)])[0]

    def get_parts(self, key: str, parts: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Read parts of an object with one request, including the bytes between them, and check them.

        Parameters
        ----------
        key : str
            The object.
        parts : sequence of tuple
            Digest, offset and length of each.

        Raises
        ------
        CasMissingError
            When every gateway answers that there is no such object.
        CasConflictError
            When every gateway returns other bytes.
        CasDamagedError
            When the archive answers, but no gateway returns the object.
        CasUnavailableError
            When no gateway gave a reliable answer before the deadline.
        """
        first = min(offset for _, offset, _ in parts)
        length = max(offset + length for _, offset, length in parts) - first

        def attempt(client: Client) -> list[bytes]:
            content = client.get(key, first, length)
            contents = [content[offset - first : offset - first + length] for _, offset, length in parts]
            if [digest for digest, _, _ in parts] != [names.digest_of(content) for content in contents]:
                raise CasConflictError(f"the archive object {key} has other bytes than were stored")
            return contents

        return self._agreed("get", attempt, key, length)

    def part(self, key: str, offset: int, length: int) -> bytes:
        """Read a part of an object, unchecked.

        Raises
        ------
        CasMissingError, CasUnavailableError
        """
        return self._agreed("get", lambda client: client.get(key, offset, length), key, length)

    def head(self, key: str) -> Recorded:
        """Read the archive's record of an object.

        Raises
        ------
        CasMissingError, CasUnavailableError
        """
        return self._agreed("head", lambda client: client.head(key), key)

    def lock(self, key: str) -> Lock:
        """Read the archive's lock on an object.

        Raises
        ------
        CasMissingError, CasUnavailableError
        """
        return self._agreed("lock", lambda client: client.lock(key), key)

    def probe(self) -> str:
        """Check that a gateway, and the archive behind it, answers now.

        Returns
        -------
        str
            How many gateways answer, for people.

        Raises
        ------
        CasUnavailableError
            When none does.
        """
        answered, reasons = [], []
        for gateway in self.gateways.members:
            try:
                gateway.client.probe()
            except FAILURES as error:
                self.gateways.failed(gateway, brief(error))
                reasons.append(f"{gateway.url}: {brief(error)}")
                continue
            self.gateways.worked(gateway)
            answered.append(gateway.url)
        if not answered:
            self._unwritten_at = time.monotonic()
            raise CasUnavailableError(f"no gateway answers: {'; '.join(reasons)}")
        return f"{len(answered)} of {len(self.gateways.members)} gateways answer"

    def _put_new(self, key: str, content: bytes) -> str:
        def attempt(client: Client) -> str:
            client.put(key, content)
            self._find(client, key, len(content))
            return key

        return self._written(attempt, len(content))

    def _written[T](self, attempt: Callable[[Client], T], size: int) -> T:
        try:
            result = self._through("put", attempt, size)
        except CasUnavailableError:
            self._unwritten_at = time.monotonic()
            raise
        self._unwritten_at = None
        return result

    @property
    def takes_writes(self) -> bool:
        """Whether the last object could be stored. A failure counts for a minute: then another store may try."""
        failed_at = self._unwritten_at
        return failed_at is None or time.monotonic() - failed_at > _UNWRITTEN_S

    @staticmethod
    def _answers(client: Client) -> bool:
        try:
            client.probe()
        except FAILURES:
            return False
        return True

    def _find(self, client: Client, key: str, size: int) -> None:
        """Find an object that was stored a moment ago, before anybody is told that it is in the archive.

        SeaweedFS 4.48 answered 200 for an object that no reader finds: while a filer restarted, the filer that stored
        it recorded the version, and its request was cancelled before the version's folder was.
        """
        try:
            recorded = client.head(key)
        except FileNotFoundError:
            self._doubted.labels("stored but not found").inc()
            raise
        if recorded.size != size:
            raise ValueError(f"{key} has {recorded.size} bytes after {size} were stored")

    def _confirm(self, client: Client, key: str, digest: str, size: int) -> None:
        recorded = client.head(key)
        if recorded.size != size:
            raise CasConflictError(f"the archive object {key} has {recorded.size} bytes in place of {size}")
        if recorded.digest != digest and names.digest_of(client.get(key, 0, size)) != digest:
            raise CasConflictError(f"the archive object {key} has other bytes than were stored")
        self.deduplicated.inc()

    def _through[T](self, operation: str, attempt: Callable[[Client], T], size: int) -> T:
        allowed_s = self.allowed_s(size)
        deadline = time.monotonic() + allowed_s
        reasons: dict[str, str] = {}
        for number, gateway in enumerate(self.gateways.until(deadline)):
            if number:
                self._retries.labels(operation).inc()
            try:
                result = attempt(gateway.client)
            except FAILURES as error:
                # Also after "not found" and "denied": a gateway that lost its metadata store answers so for a while.
                reasons[gateway.url] = brief(error)
                self.gateways.failed(gateway, brief(error))
                continue
            self.gateways.worked(gateway)
            return result
        raise undone(operation, allowed_s, reasons)

    def _agreed[T](self, operation: str, attempt: Callable[[Client], T], key: str, size: int = 0) -> T:
        """Accept "not found" and wrong bytes only when every gateway gives the same answer.

        When no copy is whole, a gateway answers late and with an error, or not at all. So when two gateways have failed
        for `damaged_after_s`, and the last one answers other requests, waiting does not help.
        """
        allowed_s = self.allowed_s(size)
        deadline = time.monotonic() + allowed_s
        refused: dict[str, CasError] = {}
        reasons: dict[str, str] = {}
        asked = 0
        began = time.monotonic()
        for gateway in self.gateways.until(deadline):
            asked += 1
            try:
                result = attempt(gateway.client)
            except FileNotFoundError:
                self._doubted.labels("not found").inc()
                refused[gateway.url] = CasMissingError(f"no gateway finds the archive object {key}")
                reasons[gateway.url] = "no such object"
            except CasConflictError as error:
                self._doubted.labels("wrong bytes").inc()
                refused[gateway.url] = error
                reasons[gateway.url] = str(error)
            except FAILURES as error:
                reasons[gateway.url] = brief(error)
                self.gateways.failed(gateway, brief(error))
                self._retries.labels(operation).inc()
                failed = len(reasons) >= min(2, len(self.gateways.members))
                late = time.monotonic() - began >= self.damaged_after_s
                if failed and late and self._answers(gateway.client):
                    raise CasDamagedError(
                        f"the archive answers, but not with the object {key}: {every(reasons)}"
                    ) from error
                continue
            else:
                self.gateways.worked(gateway)
                return result
            if len(refused) == len(self.gateways.members) and asked > 1:
                raise refused[gateway.url]
        raise undone(operation, allowed_s, reasons)
