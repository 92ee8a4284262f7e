"""Asks this Orthanc what its callers ask: a row of its index, and an association.

The balancers read the answers with those of the other probes, in one request (docs/adr/0075).
"""

import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hapacs_node.dimse.accept import request
from hapacs_node.endpoint import Endpoint
from hapacs_node.errors import OrthancUnavailableError
from hapacs_node.index_guard import QUESTION
from hapacs_node.loopback import Orthanc

ANSWER_S = 3.0


@dataclass(frozen=True)
class Index:
    """Reads a row of the index.

    A connection to a former leader of the database fails once before Orthanc opens a new one: this question should
    meet that failure, not a caller's.

    Parameters
    ----------
    orthanc : Orthanc
        Its HTTP interface on this machine, with a time-out of `ANSWER_S`.
    """

    orthanc: Orthanc

    def probe(self) -> str:
        """Read the row.

        Raises
        ------
        OrthancUnavailableError
            When there is no answer in time, or an error.
        """
        answer = self.orthanc.ask("GET", QUESTION, {})
        if answer.status != HTTPStatus.OK:
            raise OrthancUnavailableError(f"Orthanc answers {answer.status} to a question about its index")
        return "a row is read"


@dataclass(frozen=True)
class Association:
    """Opens and releases an association for Verification (DICOM PS3.8 7.1 and 7.2).

    Parameters
    ----------
    endpoint : Endpoint
        Where this Orthanc takes associations. Its authority signed both certificates.
    called, calling : str
        The AE titles.
    tls : ssl.SSLContext
        Presents this node's certificate.
    """

    endpoint: Endpoint
    called: str
    calling: str
    tls: ssl.SSLContext

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """Read it from Orthanc's configuration: an endpoint, ``Called`` and ``Calling``."""
        endpoint = Endpoint.of(document)
        return cls(endpoint, str(document["Called"]), str(document["Calling"]), endpoint.client_tls())

    def probe(self) -> str:
        """Open and release it.

        Raises
        ------
        EndedError
            When it is refused or not answered in time.
        """
        where = (self.endpoint.address, self.endpoint.port)
        pairs = [(str(Verification), str(ImplicitVRLittleEndian))]
        connection, _ = request(self.calling, self.called, where, pairs, ANSWER_S, tls=self.tls)
        connection.release()
        return "an association is accepted"
