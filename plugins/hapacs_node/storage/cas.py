"""The archive copy: objects in a locked S3 bucket, named by the digest of what they hold."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from obstore.exceptions import AlreadyExistsError, BaseError

from hapacs_node import log
from hapacs_node.errors import CasConflictError, CasError, CasMissingError, CasUnavailableError
from hapacs_node.metrics import Metrics
from hapacs_node.storage import names
from hapacs_node.storage.gateways import Gateways

_LOG = log.get("cas")
_ORDINARY_BYTES = 32_000_000
_SLOWEST_BYTES_PER_S = 10_000_000
# obstore says "not found" with the built-in exception, here and in what follows.
_FAILURES = (BaseError, OSError, ValueError)


@dataclass(frozen=True)
class Recorded:
    """What the archive says about an object: its size and the digest noted when it was stored."""

    size: int
    digest: str | None


@dataclass(frozen=True)
class Lock:
    """The archive's lock on an object.

    Attributes
    ----------
    mode : str or None
        ``GOVERNANCE`` or ``COMPLIANCE``; None when it isn't locked.
    until : str or None
        When the lock ends, ISO 8601.
    """

    mode: str | None
    until: str | None


class Client(Protocol):
    """What is asked of one gateway. Raises obstore's exceptions."""

    def create(self, key: str, content: bytes, digest: str) -> None:
        """Store an object that must not exist yet; TimeoutError when the gateway doesn't say within seconds."""

    def put(self, key: str, content: bytes) -> None:
        """Store an object under a key that nobody else uses."""

    def head(self, key: str) -> Recorded:
        """Ask about an object."""

    def get(self, key: str, offset: int, length: int) -> bytes:
        """Read a part of an object."""

    def lock(self, key: str) -> Lock:
        """Ask how an object is locked."""

    def probe(self) -> None:
        """Ask whether the bucket answers, and give up soon."""


def patience_s(size: int) -> int:
    """Tell how much longer than usual a request about that many bytes may take.

    Parameters
    ----------
    size : int
        Bytes.

    Returns
    -------
    int
        Seconds: none for an ordinary image, for a large one at 10 MB/s. Only powers of two, because every time-out
        needs a client of its own.
    """
    return 0 if size <= _ORDINARY_BYTES else 1 << (size // _SLOWEST_BYTES_PER_S).bit_length()


@dataclass
class Cas:
    """The archive store, whichever gateway answers.

    Parameters
    ----------
    gateways : Gateways
        Clients in order of preference.
    deadline_s : float
        Longest time for one ordinary object, over all gateways.
    metrics : Metrics
        Retries and doubts.
    """

    gateways: Gateways[Client]
    deadline_s: float
    metrics: Metrics

    def __post_init__(self) -> None:
        declare = self.metrics.counter
        self.deduplicated = declare("hapacs_cas_deduplicated", "Objects that the CAS already held")
        self._retries = declare("hapacs_cas_retries", "Requests to the CAS made again", ["operation"])
        self._doubted = declare("hapacs_cas_doubted", "Answers of a gateway that another had to confirm", ["reason"])

    def allowed_s(self, size: int) -> float:
        """Tell how long storing or reading that many bytes may take."""
        return self.deadline_s + patience_s(size)

    def put(self, digest: str, content: bytes) -> str:
        """Archive bytes under their digest, once.

        A gateway holds the lock on the name while it stores under it, and one that dies meanwhile leaves it locked for
        a quarter of a minute: just the image that its sender sends again at once. So who gets no answer about the name
        goes on with another. What the first request may still have stored is an object that nothing refers to.

        Returns
        -------
        str
            The object's key. The object is whole: the gateway checked the digest, or it was there with this digest.

        Raises
        ------
        CasConflictError
            When something else lies under the key.
        CasUnavailableError
            When no gateway did it in time.
        """
        key = names.cas_key(digest)
        spare: str | None = None

        def attempt(client: Client) -> str:
            nonlocal spare
            if spare is not None:
                client.put(spare, content)
                return spare
            try:
                client.create(key, content, digest)
            except AlreadyExistsError:
                self._confirm(client, key, digest, len(content))
            except TimeoutError:
                spare = names.spare_key(digest)
                raise
            return key

        return self._through("put", attempt, len(content))

    def put_pack(self, content: bytes) -> str:
        """Archive a pack under a name of its own.

        There is no condition to it, which is a third of what an object costs: a request that is made again with the
        same bytes adds a version.

        Returns
        -------
        str
            The object's key. The object is whole: the gateway checked its digest.

        Raises
        ------
        CasUnavailableError
            When no gateway did it in time.
        """
        key = names.pack_key()

        def attempt(client: Client) -> str:
            client.put(key, content)
            return key

        return self._through("put", attempt, len(content))

    def get(self, key: str, digest: str, offset: int, length: int) -> bytes:
        """Read bytes and check them; see `get_parts`."""
        return self.get_parts(key, [(digest, offset, length)])[0]

    def get_parts(self, key: str, parts: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Read parts of an object at once, with what lies between them, and check them.

        Parameters
        ----------
        key : str
            The object.
        parts : sequence of tuple
            Digest, offset and length of each.

        Raises
        ------
        CasMissingError
            When every gateway says that there is no such object.
        CasConflictError
            When every gateway gives other bytes.
        CasUnavailableError
            When the answer isn't known in time.
        """
        first = min(offset for _, offset, _ in parts)
        length = max(offset + length for _, offset, length in parts) - first

        def attempt(client: Client) -> list[bytes]:
            content = client.get(key, first, length)
            contents = [content[offset - first : offset - first + length] for _, offset, length in parts]
            if [digest for digest, _, _ in parts] != [names.digest_of(content) for content in contents]:
                raise CasConflictError(f"the archive object {key} is not what was stored")
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
        """Ask what the archive recorded about an object.

        Raises
        ------
        CasMissingError, CasUnavailableError
        """
        return self._agreed("head", lambda client: client.head(key), key)

    def lock(self, key: str) -> Lock:
        """Ask how the archive locks an object.

        Raises
        ------
        CasMissingError, CasUnavailableError
        """
        return self._agreed("lock", lambda client: client.lock(key), key)

    def probe(self) -> str:
        """Prove that a gateway and what is behind it answers right now.

        Returns
        -------
        str
            Which gateways did.

        Raises
        ------
        CasUnavailableError
            When none did.
        """
        answered, reasons = [], []
        for gateway in self.gateways.members:
            try:
                gateway.client.probe()
            except _FAILURES as error:
                self.gateways.failed(gateway, _brief(error))
                reasons.append(f"{gateway.url}: {_brief(error)}")
                continue
            self.gateways.worked(gateway)
            answered.append(gateway.url)
        if not answered:
            raise CasUnavailableError(f"no gateway answers: {'; '.join(reasons)}")
        return f"{len(answered)} of {len(self.gateways.members)} gateways answer"

    def _confirm(self, client: Client, key: str, digest: str, size: int) -> None:
        recorded = client.head(key)
        if recorded.size != size:
            raise CasConflictError(f"the archive object {key} has {recorded.size} bytes in place of {size}")
        if recorded.digest != digest and names.digest_of(client.get(key, 0, size)) != digest:
            raise CasConflictError(f"the archive object {key} is not what was stored")
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
            except _FAILURES as error:
                # Even "not found" and "denied" pass: a gateway that lost its metadata store says so for a while.
                reasons[gateway.url] = _brief(error)
                self.gateways.failed(gateway, _brief(error))
                continue
            self.gateways.worked(gateway)
            return result
        raise _undone(operation, allowed_s, reasons)

    def _agreed[T](self, operation: str, attempt: Callable[[Client], T], key: str, size: int = 0) -> T:
        """Believe "not found" and wrong bytes only when every gateway says the same, each asked twice at most."""
        allowed_s = self.allowed_s(size)
        deadline = time.monotonic() + allowed_s
        refused: dict[str, CasError] = {}
        reasons: dict[str, str] = {}
        asked = 0
        for gateway in self.gateways.until(deadline):
            asked += 1
            try:
                result = attempt(gateway.client)
            except FileNotFoundError:
                self._doubted.labels("not found").inc()
                refused[gateway.url] = CasMissingError(f"no gateway knows the archive object {key}")
                reasons[gateway.url] = "no such object"
            except CasConflictError as error:
                self._doubted.labels("wrong bytes").inc()
                refused[gateway.url] = error
                reasons[gateway.url] = str(error)
            except _FAILURES as error:
                reasons[gateway.url] = _brief(error)
                self.gateways.failed(gateway, _brief(error))
                self._retries.labels(operation).inc()
                continue
            else:
                self.gateways.worked(gateway)
                return result
            if len(refused) == len(self.gateways.members) and asked > 1:
                raise refused[gateway.url]
        raise _undone(operation, allowed_s, reasons)


def _undone(operation: str, allowed_s: float, reasons: Mapping[str, str]) -> CasUnavailableError:
    """Say what each gateway that was asked said last."""
    said = "; ".join(f"{url}: {reason}" for url, reason in reasons.items()) or "none was asked"
    return CasUnavailableError(f"no gateway did the {operation} within {allowed_s:g} s: {said}")


def _brief(error: BaseException) -> str:
    """Shorten obstore's message: it begins with the request and goes on with its internals over many lines."""
    text = " ".join(str(error).split("Debug source")[0].split())
    return (text.partition(" - ")[2] or text)[:200]
