"""Ends a process whose index hangs, so that the service manager restarts it.

Orthanc's index plugin (5.0) waits without a limit for the answer to a query. A database server that is stopped, not
dead, keeps its connections: its kernel confirms what arrives, so no time-out of TCP ends them. After another server
was promoted Orthanc would still wait for the former leader. A new process connects to the one that leads now.
"""

import http.client
import os
import threading
import time
from collections.abc import Callable

from hapacs_node import log
from hapacs_node.errors import NodeError

_LOG = log.get("index")
_PERIOD_S = 1.0
_ANSWER_S = 3.0
# A failover of the database takes longer; what is slow but connected to the leader is left alone.
_PATIENCE_S = 10.0
# Reads one row of the index.
QUESTION = "/studies?since=0&limit=1"


class IndexGuard:
    """Asks Orthanc for a row of its index, and ends the process when it waits for another server than the leader.

    Parameters
    ----------
    answers : callable
        Whether Orthanc answers a question about its index in time, see `answers_at`.
    connected : callable
        Whether the database's leader has a session of Orthanc's index; raises NodeError when no leader is reached.
    patience_s : float
        How long answers may be missing.
    period_s : float
        Seconds between two questions.
    """

    def __init__(
        self,
        answers: Callable[[], bool],
        connected: Callable[[], bool],
        patience_s: float = _PATIENCE_S,
        period_s: float = _PERIOD_S,
    ) -> None:
        self._answers = answers
        self._connected = connected
        self._patience_s = patience_s
        self._period_s = period_s
        self._stop = threading.Event()

    def start(self) -> None:
        """Start asking, on a thread of its own."""
        threading.Thread(target=self._repeat, name="index", daemon=True).start()

    def stop(self) -> None:
        """Stop asking."""
        self._stop.set()

    def _repeat(self) -> None:
        answered_at = time.monotonic()
        while not self._stop.wait(self._period_s):
            if self._answers():
                answered_at = time.monotonic()
            elif time.monotonic() - answered_at >= self._patience_s and self._left():
                _LOG.error(log.line("index_hangs", seconds=round(time.monotonic() - answered_at, 1)))
                # An orderly stop would wait for the transaction that hangs. The sender keeps images that were not
                # acknowledged.
                os._exit(os.EX_UNAVAILABLE)

    def _left(self) -> bool:
        try:
            return not self._connected()
        except NodeError:
            # There is no leader that a new process could use.
            return False


def answers_at(port: int, timeout_s: float = _ANSWER_S) -> bool:
    """Return whether Orthanc answers a question about its index, whatever the answer.

    Parameters
    ----------
    port : int
        Orthanc's HTTP port on this machine. A port that refuses the connection counts as an answer: Orthanc starts or
        stops.
    timeout_s : float
        Longest wait.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", QUESTION)
        connection.getresponse().read()
    except TimeoutError:
        return False
    except (OSError, http.client.HTTPException):
        return True
    finally:
        connection.close()
    return True
