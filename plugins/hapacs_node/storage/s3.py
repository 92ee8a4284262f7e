"""One gateway of the archive, reached through obstore, which works in Rust with the GIL released."""

import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import GenericError
from obstore.store import S3Store

from hapacs_node.metrics import Metrics
from hapacs_node.settings import Cas as CasSettings
from hapacs_node.storage.cas import patience_s
from hapacs_node.storage.client import Client, Listed, Lock, Recorded
from hapacs_node.storage.gateways import Gateway, Gateways

if TYPE_CHECKING:
    from obstore.store import ClientConfig

_RECORDED_DIGEST = "sha256"
_PROBE_TIMEOUT_S = 3
# The most that S3 returns with one request.
_PAGE = 1000
# For an object whose key may be locked. Well above the time that a busy gateway needs, and short enough to try another
# key before a modality gives up.
_CREATE_TIMEOUT_S = 3
# A gateway tries a damaged object for more than 10 s before it answers. Another gateway is asked sooner.
_READ_TIMEOUT_S = 4


@dataclass(frozen=True)
class S3Client:
    """The requests to one gateway.

    Parameters
    ----------
    connect : callable
        Makes an obstore client with the given time-out for a whole request, seconds.
    plain : urllib.request.OpenerDirector
        Sends the one request that obstore does not offer.
    timeout_s : float
        Longest time for one request about an ordinary image, seconds.
    """

    connect: Callable[[float], S3Store]
    plain: urllib.request.OpenerDirector
    timeout_s: float
    _stores: dict[float, S3Store] = field(default_factory=dict, init=False)

    def create(self, key: str, content: bytes, digest: str) -> None:
        """Store with ``If-None-Match: *``; the gateway checks the SHA-256 before it stores the object."""
        allowed_s = min(_CREATE_TIMEOUT_S, self.timeout_s) + patience_s(len(content))
        store = self._store(allowed_s)
        began = time.monotonic()
        try:
            obstore.put(store, key, content, mode="create", use_multipart=False, attributes={_RECORDED_DIGEST: digest})
        except GenericError as error:
            # obstore has no exception for a time-out, and its message may change.
            if time.monotonic() - began < allowed_s:
                raise
            raise TimeoutError(f"no answer about {key} within {allowed_s:g} s") from error

    def put(self, key: str, content: bytes) -> None:
        """Store under a key that no other object uses; the gateway checks the SHA-256 before it stores the object."""
        store = self._store(self.timeout_s + patience_s(len(content)))
        obstore.put(store, key, content, mode="overwrite", use_multipart=False)

    def head(self, key: str) -> Recorded:
        """Read an object's size and digest."""
        answer = obstore.get(self._store(self.timeout_s), key, options={"head": True})
        return Recorded(answer.meta["size"], answer.attributes.get(_RECORDED_DIGEST))

    def get(self, key: str, offset: int, length: int) -> bytes:
        """Read a part of an object."""
        store = self._store(min(_READ_TIMEOUT_S, self.timeout_s) + patience_s(length))
        return obstore.get(store, key, options={"range": (offset, offset + length)}).bytes().to_bytes()

    def lock(self, key: str) -> Lock:
        """Read an object's lock. obstore does not return these headers, but can sign the request."""
        url = obstore.sign(self._store(self.timeout_s), "HEAD", key, timedelta(minutes=5))
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - a URL of the settings
        try:
            with self.plain.open(request, timeout=self.timeout_s) as answer:
                headers = answer.headers
                return Lock(
                    headers["x-amz-object-lock-mode"],
                    headers["x-amz-object-lock-retain-until-date"],
                    headers["x-amz-version-id"],
                )
        except urllib.error.HTTPError as error:
            raise (FileNotFoundError if error.code == HTTPStatus.NOT_FOUND else GenericError)(str(error)) from error
        except OSError as error:
            raise GenericError(str(error)) from error

    def pages(self, folder: str, after: str | None) -> Iterator[Sequence[Listed]]:
        """List the objects below a folder, a page with each request."""
        store = self._store(self.timeout_s)
        for page in obstore.list(store, folder, offset=after, chunk_size=_PAGE):
            yield [Listed(found["path"], found["size"], found["last_modified"]) for found in page]

    def probe(self) -> None:
        """List an empty folder: unlike a request for an object, this fails when the bucket doesn't exist.

        The time-out is short, so that a gateway that hangs does not delay the probes of the others.
        """
        obstore.list_with_delimiter(self._store(min(_PROBE_TIMEOUT_S, self.timeout_s)), "probe")

    def _store(self, timeout_s: float) -> S3Store:
        found = self._stores.get(timeout_s)
        return found if found is not None else self._stores.setdefault(timeout_s, self.connect(timeout_s))


def connect(settings: CasSettings, metrics: Metrics) -> Gateways[Client]:
    """Make a client for every gateway of the settings."""
    # The archive is on the site's own network.
    without_proxy()
    tls = ssl.create_default_context(cafile=settings.ca_file)
    plain = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls))
    members: list[Gateway[Client]] = [
        Gateway(url, S3Client(_connector(settings, url), plain, settings.attempt_timeout_s))
        for url in settings.gateways
    ]
    return Gateways(members, metrics)


def without_proxy() -> None:
    """Let clients use no proxy of the machine. obstore has no option for this, and applies "*" to names only."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*,0.0.0.0/0,::/0"


def _connector(settings: CasSettings, url: str) -> Callable[[float], S3Store]:
    credentials = settings.credentials()
    authority = None if settings.ca_file is None else settings.ca_file.read_bytes()

    def connect_(timeout_s: float) -> S3Store:
        options: ClientConfig = {
            "allow_http": authority is None,
            "connect_timeout": timedelta(seconds=settings.connect_timeout_s),
            "timeout": timedelta(seconds=timeout_s),
            # Below the gateways' own 120 s, so that no request is sent on a connection that is being closed.
            "pool_idle_timeout": timedelta(seconds=60),
        }
        if authority is not None:
            options["root_certificate"] = authority
        return S3Store(
            settings.bucket,
            endpoint=url.rstrip("/"),
            region=settings.region,
            access_key_id=credentials.access_key,
            secret_access_key=credentials.secret_key.get_secret_value(),
            virtual_hosted_style_request=False,
            checksum_algorithm="SHA256",
            client_options=options,
            # `Gateways` retries: the next attempt goes to another gateway.
            retry_config={"max_retries": 0},
        )

    return connect_
