"""What sending to any kind of destination has in common: who this node is, a session, and how it fails."""

import json
import re
import ssl
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hapacs_node.catalog.tasks import Task
from hapacs_node.errors import NodeError
from hapacs_node.outbox.answers import Ended
from hapacs_node.routing.image import Message

_HEADER = re.compile(r"[\x21-\x7e]+")

type Loaded = tuple[Task, Message]
"""A task, and its image."""


class PeerError(NodeError):
    """A destination can't be reached, or refuses for a reason that no image has. No image was under way."""


class UnansweredError(PeerError):
    """The images of the last request were under way, and were not answered."""


class Session(Protocol):
    """An open way to a destination."""

    @property
    def proven(self) -> bool:
        """Whether an open session shows that the destination works. Otherwise its first answer does."""
        ...

    def requests(self, tasks: Sequence[Task]) -> list[list[Task]]:
        """Divide tasks into those that are sent together."""
        ...

    def send(self, images: Sequence[Loaded]) -> list[Ended]:
        """Send images together, and return the end of each.

        Raises
        ------
        UnansweredError
            When there is no answer.
        PeerError
            When the destination fails.
        """
        ...


class OneByOne(ABC):
    """Requests and answers of a session in which each image is a request of its own."""

    def requests(self, tasks: Sequence[Task]) -> list[list[Task]]:
        """Divide tasks into requests of one image."""
        return [[task] for task in tasks]

    def send(self, images: Sequence[Loaded]) -> list[Ended]:
        """Send images one after the other, and return the end of each.

        Raises
        ------
        UnansweredError
            When the destination does not take or return one now.
        """
        return [self._attempt(task, message) for task, message in images]

    @abstractmethod
    def _attempt(self, task: Task, message: Message) -> Ended: ...


@dataclass(frozen=True)
class Identity:
    """Files of this node's certificate, and of the authority of the site.

    Attributes
    ----------
    certificate, key, authority : Path
        PEM.
    """

    certificate: Path
    key: Path
    authority: Path

    def context(self, authority: str | None, *, names: bool) -> ssl.SSLContext:
        """Make a TLS context that shows the certificate, and requires one of an authority.

        Parameters
        ----------
        authority : str or None
            Its certificate, PEM; None for the site's own.
        names : bool
            Whether the certificate must have the peer's host name.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = names
        context.load_cert_chain(self.certificate, self.key)
        if authority is None:
            context.load_verify_locations(self.authority)
        else:
            context.load_verify_locations(cadata=authority)
        return context


@dataclass(frozen=True)
class Access:
    """What a node needs to be let in by destinations.

    Attributes
    ----------
    identity : Identity or None
        This node's certificate.
    secrets : Path or None
        A JSON file of passwords and tokens by name. It is read for each session, so that a new one needs no restart.
    """

    identity: Identity | None = None
    secrets: Path | None = None

    def context(self, authority: str | None, where: str, *, names: bool) -> ssl.SSLContext:
        """Make a TLS context, as `Identity.context` does.

        Raises
        ------
        PeerError
            When this node has no certificate.
        """
        if self.identity is None:
            raise PeerError(f"{where} wants TLS, but this node has no certificate: run `hapacs up`")
        return self.identity.context(authority, names=names)

    def secret(self, name: str) -> str:
        """Return a password or token.

        Raises
        ------
        PeerError
            When this node does not have it, or it can't be sent.
        """
        try:
            known = {} if self.secrets is None else json.loads(self.secrets.read_bytes())
        except (OSError, ValueError) as error:
            raise PeerError(f"{self.secrets} can't be read: {type(error).__name__}; run `hapacs up`") from None
        if not isinstance(found := known.get(name), str):
            raise PeerError(f"this node has no secret {name}: add it to hapacs_secret_routing, and run `hapacs up`")
        if not _HEADER.fullmatch(found):
            raise PeerError(f"the secret {name} has characters that no header can have: write signs of ASCII, no blank")
        return found
