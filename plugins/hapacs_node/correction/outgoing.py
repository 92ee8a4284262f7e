"""Images for destinations of routing, with the corrections that are in force when each is sent."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from hapacs_node.catalog import corrections
from hapacs_node.catalog.database import Database
from hapacs_node.correction import file
from hapacs_node.errors import NodeError


class HiddenError(NodeError):
    """A study or series is hidden, and is not sent while it is."""


@dataclass(frozen=True)
class Outgoing:
    """Reads images as destinations get them.

    Parameters
    ----------
    database : Database
        The catalog's.
    received : callable
        Returns the bytes of an attachment as they were received.
    undeclared : str
        Character set of files that declare none.
    """

    database: Database
    received: Callable[[UUID], bytes]
    undeclared: str

    def read(self, uuid: UUID) -> bytes:
        """Return an image as it is sent.

        Raises
        ------
        HiddenError
            When it is hidden. Its task waits, and is tried again.
        NodeError
            When it can't be read now, or can't be given with its correction.
        """
        hidden, move = self.database.run(lambda c: corrections.of_image(c, uuid))
        if hidden:
            raise HiddenError("its study or series is hidden: `hapacs study unhide` gives it back")
        return file.given(self.received(uuid), move, self.undeclared)
