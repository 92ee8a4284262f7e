"""Ends a process that has no memory left, so that the service manager starts it anew.

What a data set takes is known only once it is taken apart. When that is more than the unit allows, Orthanc refuses it
and goes on; but what it had taken may stay with the process, which then can't answer anybody and doesn't mend itself.
"""

import mmap
import os
import threading
import time

from hapacs_node import log

_LOG = log.get("memory")
# An image and its copies on their way; whoever can't have so much at a time can't store.
_NEEDED_BYTES = 16 << 20
_PERIOD_S = 1.0
# A large object takes its memory while it is written to disks and archive; one that is taken apart in vain, seconds.
_PATIENCE_S = 20.0


class MemoryGuard:
    """Looks again and again whether the process can have more memory, and ends it when it could not for a while.

    Parameters
    ----------
    needed_bytes : int
        How much it has to be able to have.
    patience_s : float
        For how long it may be unable to.
    period_s : float
        How often to look.
    """

    def __init__(
        self, needed_bytes: int = _NEEDED_BYTES, patience_s: float = _PATIENCE_S, period_s: float = _PERIOD_S
    ) -> None:
        self._needed_bytes = needed_bytes
        self._patience_s = patience_s
        self._period_s = period_s
        self._stop = threading.Event()
        # Given back at the end: without any memory there would be no log line either.
        self._reserve = _taken(1 << 20)

    def start(self) -> None:
        """Begin to look, on a thread of its own."""
        threading.Thread(target=self._repeat, name="memory", daemon=True).start()

    def stop(self) -> None:
        """Stop looking."""
        self._stop.set()

    def _repeat(self) -> None:
        missing_since: float | None = None
        while not self._stop.is_set():
            try:
                # Not by waiting for the event, which takes memory.
                time.sleep(self._period_s)
                if self._has_enough():
                    missing_since = None
                elif missing_since is None:
                    missing_since = time.monotonic()
                elif time.monotonic() - missing_since >= self._patience_s:
                    self._end()
            except MemoryError:
                # Not even for this line's own objects. The next look decides.
                continue

    def _has_enough(self) -> bool:
        try:
            _taken(self._needed_bytes).close()
        except (OSError, MemoryError):
            return False
        return True

    def _end(self) -> None:
        try:
            self._reserve.close()
            _LOG.error(log.line("out_of_memory", needed_bytes=self._needed_bytes))
        finally:
            # At once: stopping in order takes memory. What was not acknowledged, its sender has.
            os._exit(os.EX_OSERR)


def _taken(size: int) -> mmap.mmap:
    # Private, since the kernel counts nothing else (RLIMIT_DATA in getrlimit(2)). Untouched, so it costs nothing.
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
