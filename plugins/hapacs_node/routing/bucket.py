"""Stores images in a bucket of S3: one object for each, which counts as sent when it was read back."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.store import S3Store

from hapacs_node.catalog.tasks import Task
from hapacs_node.outbox import answers
from hapacs_node.outbox.answers import Ended
from hapacs_node.routing import names
from hapacs_node.routing.destination import S3Destination
from hapacs_node.routing.image import Message
from hapacs_node.routing.peer import Access, OneByOne, PeerError, UnansweredError
from hapacs_node.storage.failures import FAILURES, brief
from hapacs_node.storage.s3 import without_proxy

# The limit of a request is one for the whole of it. A large image gets more time, for a link of 2 Mbit/s.
_SLOWEST_BYTES_PER_S = 250_000
# A folder that has no object: what is listed is whether the bucket answers.
_PROBE = ".probe"


@dataclass(frozen=True)
class BucketSession(OneByOne):
    """A bucket that answers.

    Attributes
    ----------
    destination : S3Destination
        The bucket.
    store : S3Store
        Its client.
    proven : bool
        A bucket can be listed that takes no object, so only a stored one shows that it works.
    """

    destination: S3Destination
    store: S3Store
    proven: bool = False

    def _attempt(self, task: Task, message: Message) -> Ended:
        if not names.are_safe(task):
            return Ended(task.id, "dead", names.UNSAFE)
        key = _key(self.destination, task)
        try:
            # One request, so that the object is whole or not there. The store compares it with its SHA-256.
            obstore.put(
                self.store,
                key,
                message.file,
                mode="overwrite",
                use_multipart=False,
                attributes={"Content-Type": "application/dicom"},
            )
            found = _digest(self.store, key)
        except FAILURES as error:
            raise UnansweredError(f"{self.destination.where}: {brief(error)}") from error
        if found != hashlib.sha256(message.file).hexdigest():
            return answers.unanswered(task.id, task.attempts, "the bucket returns other bytes than were stored")
        return Ended(task.id, "confirmed")


@contextmanager
def enter(destination: S3Destination, tasks: Sequence[Task], access: Access) -> Iterator[BucketSession]:
    """Ask a bucket whether it answers, for a session that stores some tasks or asks for them.

    Raises
    ------
    PeerError
        When it does not, or this node has not the secret.
    """
    largest = max((task.size for task in tasks), default=0)
    secret, authority = access.secret(destination.credentials), _authority(destination, access)
    try:
        store = _connect(destination, secret, authority, largest)
        obstore.list_with_delimiter(store, "/".join(filter(None, (destination.prefix, _PROBE))))
    except FAILURES as error:
        raise PeerError(f"{destination.where}: {brief(error)}") from error
    yield BucketSession(destination, store)


def present(destination: S3Destination, tasks: Sequence[Task], access: Access) -> set[str]:
    """Return the SOP Instance UIDs of those images that have an object in the bucket.

    Raises
    ------
    PeerError
        When the bucket does not answer.
    """
    with enter(destination, (), access) as session:
        try:
            return {task.sop for task in tasks if names.are_safe(task) and _has(session.store, _key(destination, task))}
        except FAILURES as error:
            raise PeerError(f"{destination.where}: {brief(error)}") from error


def ping(destination: S3Destination, access: Access) -> str:
    """Ask a bucket whether it answers; return that in words.

    Raises
    ------
    PeerError
        When it does not.
    """
    with enter(destination, (), access):
        return "the bucket can be listed"


def trust_only(authority: Path) -> None:
    """Let clients of S3 trust this authority in place of all that the machine trusts, and use no proxy.

    A client adds the authority of its destination. It reads those of the machine when it is made, as OpenSSL does, and
    has no option for it. Call this before the first one is made.
    """
    os.environ["SSL_CERT_FILE"] = str(authority)
    os.environ.pop("SSL_CERT_DIR", None)
    without_proxy()


def _connect(destination: S3Destination, secret: str, authority: bytes, largest: int) -> S3Store:
    return S3Store(
        destination.bucket,
        endpoint=destination.address,
        region=destination.region,
        access_key_id=destination.user,
        secret_access_key=secret,
        virtual_hosted_style_request=not destination.path_style,
        checksum_algorithm="SHA256",
        client_options={
            "connect_timeout": timedelta(seconds=destination.timeout_s),
            "timeout": timedelta(seconds=destination.timeout_s + largest / _SLOWEST_BYTES_PER_S),
            "root_certificate": authority,
        },
        # The outbox tries again.
        retry_config={"max_retries": 0},
    )


def _authority(destination: S3Destination, access: Access) -> bytes:
    if destination.authority is not None:
        return destination.authority.encode()
    if access.identity is None:
        raise PeerError(f"this node does not know the authority of {destination.where}: run `hapacs up`")
    return access.identity.authority.read_bytes()


def _key(destination: S3Destination, task: Task) -> str:
    return "/".join(filter(None, (destination.prefix, names.path(task))))


def _has(store: S3Store, key: str) -> bool:
    try:
        obstore.head(store, key)
    except FileNotFoundError:
        return False
    return True


def _digest(store: S3Store, key: str) -> str:
    digest = hashlib.sha256()
    for chunk in obstore.get(store, key):
        digest.update(chunk)
    return digest.hexdigest()
