"""Sends batches of images to one destination; the next image is read while one is sent."""

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import chain

from hapacs_node.catalog.tasks import Task
from hapacs_node.routing.claims import Claims, Limited
from hapacs_node.routing.image import Message

# The rest of a batch is claimed again after it.
BATCH_S = 10.0

# So many requests are read before they are sent, if their images have no more bytes than this: one that comes from the
# archive takes longer than its predecessor takes to be sent.
_AHEAD, _AHEAD_BYTES = 4, 32 << 20

type Reading = tuple[Task, Future[Message]]
"""A task, and its image that is being read."""


@dataclass
class Batches[D: Limited](Claims[D]):
    """Works on tasks that send images.

    Parameters
    ----------
    read : callable
        Returns the bytes of a task's image.
    reading : Executor
        Reads the next image while one is sent.
    """

    read: Callable[[Task], bytes]
    reading: Executor

    @abstractmethod
    def _message(self, task: Task) -> Message:
        """Read the image of a task as it is sent."""

    def _contents(self, groups: Sequence[Sequence[Task]]) -> Iterator[list[Reading]]:
        """Yield the images of each request with their contents; those of the next ones are read meanwhile."""
        ahead: deque[list[Reading]] = deque()
        begun = 0
        try:
            for index in range(len(groups)):
                # The next one in any case; more of them while they are small.
                while begun < len(groups) and (begun <= index + 1 or _is_little(groups[index + 1 : begun + 1])):
                    ahead.append(self._reading(groups[begun]))
                    begun += 1
                yield ahead.popleft()
        finally:
            # After a lost connection, or at the end of a batch's time, others read what is left.
            for _, content in chain.from_iterable(ahead):
                content.cancel()

    def _reading(self, group: Sequence[Task]) -> list[Reading]:
        return [(task, self.reading.submit(self._message, task)) for task in group]


def _is_little(groups: Sequence[Sequence[Task]]) -> bool:
    """Return whether requests may be read before their turn."""
    return len(groups) <= _AHEAD and sum(task.size for group in groups for task in group) <= _AHEAD_BYTES
