"""Asks Orthanc on this machine by its HTTP interface.

The plugin's own calls (`orthanc.RestApiPost`) hold Python's lock until they return. When another image ends at the same
moment, Orthanc holds its lock on the callback of stored images while it waits for Python's, and a store by that call
waits for the callback: neither goes on, for ever (seen with Orthanc 1.12.7 and its Python plugin of Debian 13). A
request over the loopback lets go of Python's lock while it waits.
"""

import http.client
from collections.abc import Mapping
from dataclasses import dataclass

from hapacs_node.errors import OrthancUnavailableError


@dataclass(frozen=True)
class Answer:
    """Orthanc's answer."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True)
class Orthanc:
    """Orthanc's HTTP interface on this machine.

    Parameters
    ----------
    port : int
        Its port.
    timeout_s : float
        Longest wait.
    """

    port: int
    timeout_s: float = 60

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Return the answer to a request.

        Raises
        ------
        OrthancUnavailableError
            When there is none.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout_s)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheader("Content-Type") or "text/plain", answer.read())
        except (OSError, http.client.HTTPException) as error:
            raise OrthancUnavailableError(f"Orthanc does not answer on this node: {error!r}") from error
        finally:
            connection.close()
