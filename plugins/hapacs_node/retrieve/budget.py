"""Limits the memory of all answers together."""

import resource
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hapacs_node.errors import BusyError

_UNLIMITED_BYTES = 1 << 30
# Divisor of the unit's limit: storage area, reading ahead and Orthanc itself need memory too.
_SHARE = 4


def allowed_bytes() -> int:
    """Return the memory for answers: a quarter of the process's limit (RLIMIT_DATA in getrlimit(2))."""
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return _UNLIMITED_BYTES if limit == resource.RLIM_INFINITY else limit // _SHARE


@dataclass
class Budget:
    """A number of bytes that threads share, first come, first served.

    A thread that holds bytes must not wait for more: that could be a deadlock.

    Parameters
    ----------
    bytes : int
        Total. A thread that needs more gets the total, when no other thread holds any.
    patience_s : float
        Longest wait.
    """

    bytes: int
    patience_s: float
    _held: int = field(default=0, init=False)
    _waiting: deque[object] = field(default_factory=deque, init=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)

    @contextmanager
    def hold(self, wanted: int) -> Iterator[None]:
        """Reserve bytes until the block ends.

        Raises
        ------
        BusyError
            When they were not free before the deadline.
        """
        share = min(wanted, self.bytes)
        self._take(share)
        try:
            yield
        finally:
            with self._changed:
                self._held -= share
                self._changed.notify_all()

    def _take(self, share: int) -> None:
        deadline = time.monotonic() + self.patience_s
        me = object()
        with self._changed:
            self._waiting.append(me)
            try:
                while self._waiting[0] is not me or self._held + share > self.bytes:
                    if not self._changed.wait(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                        raise BusyError(f"{self._held} of {self.bytes} bytes for answers are in use: ask again later")
                self._held += share
            finally:
                self._waiting.remove(me)
                self._changed.notify_all()
