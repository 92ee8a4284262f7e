"""Sends batches of images to one destination; the next image is read while one is sent."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from uuid import UUID

from hapacs_node.catalog.tasks import Task
from hapacs_node.routing.claims import Claims, Limited
from hapacs_node.routing.image import Message

# The rest of a batch is claimed again after it.
BATCH_S = 10.0

type Reading = tuple[Task, Future[Message]]
"""A task, and its image that is being read."""


@dataclass
class Batches[D: Limited](Claims[D]):
    """Works on tasks that send images.

    Parameters
    ----------
    read : callable
        Returns the bytes of an attachment.
    reading : Executor
        Reads the next image while one is sent.
    """

    read: Callable[[UUID], bytes]
    reading: Executor

    @abstractmethod
    def _message(self, task: Task) -> Message:
        """Read the image of a task as it is sent."""

    def _contents(self, groups: Sequence[Sequence[Task]]) -> Iterator[list[Reading]]:
        """Yield the images of each request with their contents; those of the next one are read meanwhile."""
        following: list[Reading] = []
        for index, group in enumerate(groups):
            current = following or self._reading(group)
            following = self._reading(groups[index + 1]) if index + 1 < len(groups) else []
            yield current

    def _reading(self, group: Sequence[Task]) -> list[Reading]:
        return [(task, self.reading.submit(self._message, task)) for task in group]
