"""How much memory all answers together may hold at a time."""

import resource
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hapacs_node.errors import BusyError

_UNLIMITED_BYTES = 1 << 30
# Of what the unit allows: storage area, reading ahead and Orthanc itself need memory too.
_SHARE = 4


def allowed_bytes() -> int:
    """Say what may be held: a quarter of what the process may have (RLIMIT_DATA in getrlimit(2))."""
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return _UNLIMITED_BYTES if limit == resource.RLIM_INFINITY else limit // _SHARE


@dataclass
class Budget:
    """Bytes that many threads share, first come, first served.

    Who holds some must not wait for more: nobody would ever go on.

    Parameters
    ----------
    bytes : int
        All of them. Who wants more gets all of them, when nobody holds any.
    patience_s : float
        How long one waits.
    """

    bytes: int
    patience_s: float
    _held: int = field(default=0, init=False)
    _waiting: deque[object] = field(default_factory=deque, init=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)

    @contextmanager
    def hold(self, wanted: int) -> Iterator[None]:
        """Hold bytes for a while.

        Raises
        ------
        BusyError
            When they were not free in time.
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
