"""The archive copy: objects in a locked S3 bucket, named by the digest of what they hold."""

import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError
from obstore.store import S3Store

from hapacs_node import log
from hapacs_node.errors import CasConflictError, CasError, CasMissingError, CasUnavailableError
from hapacs_node.metrics import Metrics
from hapacs_node.settings import Cas as CasSettings
from hapacs_node.storage import names
from hapacs_node.storage.gateways import Gateway, Gateways

if TYPE_CHECKING:
    from obstore.store import ClientConfig

_LOG = log.get("cas")
_PROBE_TIMEOUT_S = 3
_RECORDED_DIGEST = "sha256"
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
        """Store an object that must not exist yet."""

    def head(self, key: str) -> Recorded:
        """Ask about an object."""

    def get(self, key: str, offset: int, length: int) -> bytes:
        """Read a part of an object."""

    def lock(self, key: str) -> Lock:
        """Ask how an object is locked."""

    def probe(self) -> None:
        """Ask whether the bucket answers, and give up soon."""


@dataclass(frozen=True)
class S3Client:
    """One gateway through obstore, whose work is done in Rust with the GIL released.

    Parameters
    ----------
    store : S3Store
        For the work.
    prober : S3Store
        The same with a short time-out, so that a gateway that hangs does not make the health of the others old.
    tls : ssl.SSLContext
        For the one request that obstore does not offer.
    timeout_s : float
        For the same.
    """

    store: S3Store
    prober: S3Store
    tls: ssl.SSLContext
    timeout_s: float

    def create(self, key: str, content: bytes, digest: str) -> None:
        """Store with ``If-None-Match: *``; the gateway checks the SHA-256 before it keeps anything."""
        obstore.put(self.store, key, content, mode="create", use_multipart=False, attributes={_RECORDED_DIGEST: digest})

    def head(self, key: str) -> Recorded:
        """Ask about an object."""
        answer = obstore.get(self.store, key, options={"head": True})
        return Recorded(answer.meta["size"], answer.attributes.get(_RECORDED_DIGEST))

    def get(self, key: str, offset: int, length: int) -> bytes:
        """Read a part of an object."""
        return obstore.get(self.store, key, options={"range": (offset, offset + length)}).bytes().to_bytes()

    def lock(self, key: str) -> Lock:
        """Ask how an object is locked. obstore doesn't show these headers, but signs the request that does."""
        url = obstore.sign(self.store, "HEAD", key, timedelta(minutes=5))
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - a URL of the settings
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s, context=self.tls) as answer:  # noqa: S310
                return Lock(
                    answer.headers["x-amz-object-lock-mode"], answer.headers["x-amz-object-lock-retain-until-date"]
                )
        except urllib.error.HTTPError as error:
            raise (FileNotFoundError if error.code == HTTPStatus.NOT_FOUND else GenericError)(str(error)) from error
        except OSError as error:
            raise GenericError(str(error)) from error

    def probe(self) -> None:
        """List a folder that nobody fills: unlike asking for an object, it fails when the bucket doesn't exist."""
        obstore.list_with_delimiter(self.prober, "probe")


def connect(settings: CasSettings, metrics: Metrics) -> Gateways[Client]:
    """Make a client for every gateway of the settings."""
    tls = ssl.create_default_context(cafile=settings.ca_file)
    members: list[Gateway[Client]] = []
    for url in settings.gateways:
        store = _store(settings, url, settings.attempt_timeout_s)
        prober = _store(settings, url, min(_PROBE_TIMEOUT_S, settings.attempt_timeout_s))
        members.append(Gateway(url, S3Client(store, prober, tls, settings.attempt_timeout_s)))
    return Gateways(members, metrics)


def _store(settings: CasSettings, url: str, timeout_s: float) -> S3Store:
    credentials = settings.credentials()
    options: ClientConfig = {
        "allow_http": url.startswith("http://"),
        "connect_timeout": timedelta(seconds=settings.connect_timeout_s),
        "timeout": timedelta(seconds=timeout_s),
    }
    if settings.ca_file is not None:
        options["root_certificate"] = settings.ca_file.read_bytes()
    return S3Store(
        settings.bucket,
        endpoint=url.rstrip("/"),
        region=settings.region,
        access_key_id=credentials.access_key,
        secret_access_key=credentials.secret_key.get_secret_value(),
        virtual_hosted_style_request=False,
        checksum_algorithm="SHA256",
        client_options=options,
        # Retrying is ours: the next attempt should go to the other gateway.
        retry_config={"max_retries": 0},
    )


@dataclass
class Cas:
    """The archive store, whichever gateway answers.

    Parameters
    ----------
    gateways : Gateways
        Clients in order of preference.
    deadline_s : float
        Longest time for one object, over all gateways.
    metrics : Metrics
        Retries and doubts.
    """

    gateways: Gateways[Client]
    deadline_s: float
    metrics: Metrics

    def put(self, digest: str, content: bytes) -> str:
        """Archive bytes under their digest, once.

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

        def attempt(client: Client) -> str:
            try:
                client.create(key, content, digest)
            except AlreadyExistsError:
                self._confirm(client, key, digest, len(content))
            return key

        return self._through("put", attempt)

    def get(self, key: str, digest: str, offset: int, length: int) -> bytes:
        """Read bytes and check them.

        Raises
        ------
        CasMissingError
            When every gateway says that there is no such object.
        CasConflictError
            When every gateway gives other bytes.
        CasUnavailableError
            When the answer isn't known in time.
        """

        def attempt(client: Client) -> bytes:
            content = client.get(key, offset, length)
            if names.digest_of(content) != digest:
                raise CasConflictError(f"the archive object {key} is not what was stored")
            return content

        return self._agreed("get", attempt, key)

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
        self.metrics.cas_deduplicated.inc()

    def _through[T](self, operation: str, attempt: Callable[[Client], T]) -> T:
        deadline = time.monotonic() + self.deadline_s
        reason = "none was asked"
        for number, gateway in enumerate(self.gateways.until(deadline)):
            if number:
                self.metrics.cas_retries.labels(operation).inc()
            try:
                result = attempt(gateway.client)
            except _FAILURES as error:
                # Even "not found" and "denied" pass: a gateway that lost its metadata store says so for a while.
                reason = f"{gateway.url}: {_brief(error)}"
                self.gateways.failed(gateway, _brief(error))
                continue
            self.gateways.worked(gateway)
            return result
        raise CasUnavailableError(
            f"no gateway did the {operation} within {self.deadline_s:g} s, the last one: {reason}"
        )

    def _agreed[T](self, operation: str, attempt: Callable[[Client], T], key: str) -> T:
        """Believe "not found" and wrong bytes only when every gateway says the same, each asked twice at most."""
        deadline = time.monotonic() + self.deadline_s
        refused: dict[str, CasError] = {}
        reason = "none was asked"
        asked = 0
        for gateway in self.gateways.until(deadline):
            asked += 1
            try:
                result = attempt(gateway.client)
            except FileNotFoundError:
                self.metrics.cas_doubted.labels("not found").inc()
                refused[gateway.url] = CasMissingError(f"no gateway knows the archive object {key}")
            except CasConflictError as error:
                self.metrics.cas_doubted.labels("wrong bytes").inc()
                refused[gateway.url] = error
            except _FAILURES as error:
                reason = f"{gateway.url}: {_brief(error)}"
                self.gateways.failed(gateway, _brief(error))
                self.metrics.cas_retries.labels(operation).inc()
                continue
            else:
                self.gateways.worked(gateway)
                return result
            if len(refused) == len(self.gateways.members) and asked > 1:
                raise refused[gateway.url]
        raise CasUnavailableError(
            f"no gateway did the {operation} within {self.deadline_s:g} s, the last one: {reason}"
        )


def _brief(error: BaseException) -> str:
    """Shorten obstore's message, which goes on with its internals over many lines."""
    return " ".join(str(error).split("Debug source")[0].split())[:300]
