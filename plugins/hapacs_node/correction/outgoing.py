"""Images for destinations of routing, with the corrections that are in force when each is sent."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hapacs_node.catalog import corrections
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.tasks import Task
from hapacs_node.correction import file
from hapacs_node.correction.patient import Move
from hapacs_node.errors import NodeError

REMEMBERED_S = 2.0
"""How long the corrections of a series are remembered, as those of frames are (ADR 76)."""
_MOST = 1000


class HiddenError(NodeError):
    """A study or series is hidden, and is not sent while it is."""


@dataclass
class Outgoing:
    """Reads images as destinations get them.

    Parameters
    ----------
    database : Database
        The catalog's.
    received : callable
        Returns the bytes of a task's attachment as they were received.
    undeclared : str
        Character set of files that declare none.
    clock : callable
        Monotonic seconds.
    """

    database: Database
    received: Callable[[Task], bytes]
    undeclared: str
    clock: Callable[[], float] = time.monotonic
    _known: dict[tuple[str, str], tuple[float, bool, Move | None]] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def read(self, task: Task) -> bytes:
        """Return an image as it is sent.

        A correction counts two seconds after it was made at the latest: the images of a series are sent together.

        Raises
        ------
        HiddenError
            When it is hidden. Its task waits, and is tried again.
        NodeError
            When it can't be read now, or can't be given with its correction.
        """
        hidden, move = self._corrections(task)
        if hidden:
            raise HiddenError("its study or series is hidden: `hapacs study unhide` gives it back")
        return file.given(self.received(task), move, self.undeclared)

    def _corrections(self, task: Task) -> tuple[bool, Move | None]:
        """Return whether a task's series is hidden, and the move of its study."""
        series, now = (task.study, task.series), self.clock()
        with self._lock:
            asked_at, hidden, move = self._known.get(series, (float("-inf"), False, None))
        if now - asked_at > REMEMBERED_S:
            if (found := self.database.run(lambda c: corrections.of_image(c, task.uuid))) is None:
                # It was removed meanwhile, and says nothing of the others of its series.
                return False, None
            hidden, move = found
            with self._lock:
                if len(self._known) >= _MOST:
                    self._known.clear()
                # The time before the question, so that nothing is older than it says.
                self._known[series] = now, hidden, move
        return hidden, move
