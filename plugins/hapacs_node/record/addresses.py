"""Asks the balancer for the address of a DICOM caller, which Orthanc does not know (docs/adr/0022).

The balancer is asked for each event, in the background. A cached answer could be the address of another device.
"""

import http.client
import re
import ssl
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import quote

from hapacs_node.endpoint import Endpoint
from hapacs_node.storage.together import Together

UNKNOWN = "unknown"
_TIMEOUT_S = 0.5
_AT_A_TIME = 64
_WORD = re.compile(r"[0-9A-Za-z.:]{1,45}")


class Balancer(Endpoint):
    """Address and certificates for requests to the balancer, at the site's virtual address."""


@dataclass
class Addresses:
    """Requests the addresses of calling titles. Requests at the same moment are batched.

    Parameters
    ----------
    balancer : Balancer or None
        The balancer; without one every address is unknown.
    workers : ThreadPoolExecutor
        Threads for the requests only. Each keeps one connection.
    """

    balancer: Balancer | None
    workers: ThreadPoolExecutor
    _together: Together[str, str] = field(init=False)
    _own: threading.local = field(default_factory=threading.local, init=False)
    _tls: ssl.SSLContext | None = field(init=False)

    def __post_init__(self) -> None:
        self._together = Together(self._ask_all, self.workers, lambda _: 1, _AT_A_TIME)
        self._tls = None if self.balancer is None else self.balancer.client_tls()

    def of(self, title: str) -> Future[str]:
        """Request the address of a title.

        Returns
        -------
        Future
            The address, ``several`` or ``unknown``; never an exception, and not much later than half a second.
        """
        if self.balancer is not None:
            # The workers refuse new work while the process stops.
            with suppress(RuntimeError):
                return self._together.begin(title)
        unknown: Future[str] = Future()
        unknown.set_result(UNKNOWN)
        return unknown

    def _ask_all(self, titles: Sequence[str]) -> list[str]:
        answers: dict[str, str] = {}
        if self.balancer is not None:
            # After a failure the other titles are not requested: they would wait as long.
            with suppress(OSError, http.client.HTTPException):
                for title in dict.fromkeys(titles):
                    answers[title] = self._ask(self.balancer, title)
        return [answers.get(title, UNKNOWN) for title in titles]

    def _ask(self, balancer: Balancer, title: str) -> str:
        connection = getattr(self._own, "connection", None)
        try:
            return self._answer(connection or self._connect(balancer), title)
        except (OSError, http.client.HTTPException):
            if connection is None:
                raise
            # The balancer closed the connection while it was idle, or the address moved.
            connection.close()
            self._own.connection = None
            return self._answer(self._connect(balancer), title)

    def _connect(self, balancer: Balancer) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(balancer.address, balancer.port, timeout=_TIMEOUT_S, context=self._tls)
        self._own.connection = connection
        return connection

    @staticmethod
    def _answer(connection: http.client.HTTPSConnection, title: str) -> str:
        connection.request("GET", f"/caller?title={quote(title, safe='')}")
        response = connection.getresponse()
        word = response.read(64).decode("ascii", "replace")
        return word if response.status == http.client.OK and _WORD.fullmatch(word) else UNKNOWN
