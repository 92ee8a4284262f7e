"""What a gateway of the archive is asked, and what it answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class Recorded:
    """The archive's record of an object: its size, and the digest recorded when it was stored."""

    size: int
    digest: str | None


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a listing of the archive: its size in bytes, and when it was stored (UTC)."""

    key: str
    size: int
    stored_at: datetime


@dataclass(frozen=True)
class Lock:
    """The archive's lock on an object.

    Attributes
    ----------
    mode : str or None
        ``GOVERNANCE`` or ``COMPLIANCE``; None when the object is not locked.
    until : str or None
        When the lock ends, ISO 8601.
    version : str or None
        The version of the object that has it.
    """

    mode: str | None
    until: str | None
    version: str | None = None


class Client(Protocol):
    """The requests to one gateway. They raise obstore's exceptions."""

    def create(self, key: str, content: bytes, digest: str) -> None:
        """Store an object that must not exist yet; TimeoutError when the gateway doesn't answer within seconds."""

    def put(self, key: str, content: bytes) -> None:
        """Store an object under a key that no other object uses."""

    def head(self, key: str) -> Recorded:
        """Read an object's size and digest."""

    def get(self, key: str, offset: int, length: int) -> bytes:
        """Read a part of an object."""

    def lock(self, key: str) -> Lock:
        """Read an object's lock."""

    def pages(self, folder: str, after: str | None) -> Iterator[Sequence[Listed]]:
        """List the objects below a folder, folder by folder, those after a key."""

    def probe(self) -> None:
        """Check that the bucket answers, with a short time-out."""
