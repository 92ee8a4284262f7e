"""Ends a process that is out of memory, so that the service manager restarts it.

The memory that a data set needs is known only while Orthanc parses it. When it exceeds the unit's limit, Orthanc
refuses the data set and continues, but the process may keep that memory. Then it can't answer any request, and does not
recover.
"""

import mmap
import os
import threading
import time

from hapacs_node import log

_LOG = log.get("memory")
# An image and its copies. A process that can't allocate this much can't store.
_NEEDED_BYTES = 16 << 20
_PERIOD_S = 1.0
# A large object needs its memory while it is written to DAS and archive; parsing one that does not fit takes seconds.
_PATIENCE_S = 20.0


class MemoryGuard:
    """Checks periodically that the process can allocate memory, and ends it when that failed for some time.

    Parameters
    ----------
    needed_bytes : int
        How much it must be able to allocate.
    patience_s : float
        How long that may fail.
    period_s : float
        Seconds between two checks.
    """

    def __init__(
        self, needed_bytes: int = _NEEDED_BYTES, patience_s: float = _PATIENCE_S, period_s: float = _PERIOD_S
    ) -> None:
        self._needed_bytes = needed_bytes
        self._patience_s = patience_s
        self._period_s = period_s
        self._stop = threading.Event()
        # Freed before the process ends, because the log line needs memory too.
        self._reserve = _taken(1 << 20)

    def start(self) -> None:
        """Start the checks on a thread of their own."""
        threading.Thread(target=self._repeat, name="memory", daemon=True).start()

    def stop(self) -> None:
        """Stop the checks."""
        self._stop.set()

    def _repeat(self) -> None:
        missing_since: float | None = None
        while not self._stop.is_set():
            try:
                # Waiting for the event would allocate memory.
                time.sleep(self._period_s)
                if self._has_enough():
                    missing_since = None
                elif missing_since is None:
                    missing_since = time.monotonic()
                elif time.monotonic() - missing_since >= self._patience_s:
                    self._end()
            except MemoryError:
                # No memory even for these objects. The next check decides.
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
            # At once, because an orderly stop needs memory. The sender keeps images that were not acknowledged.
            os._exit(os.EX_OSERR)


def _taken(size: int) -> mmap.mmap:
    # Private: the kernel counts only such pages (RLIMIT_DATA in getrlimit(2)). Never written, so it costs nothing.
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
