"""A TLS endpoint of Orthanc's configuration: an address, and the files of certificate, key and authority."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Endpoint:
    """Address and certificates of a connection.

    Attributes
    ----------
    address, port
        Of the side that listens.
    certificate, key : Path
        This node's certificate and its key.
    authority : Path
        The authority that signed the other side's certificate.
    """

    address: str
    port: int
    certificate: Path
    key: Path
    authority: Path

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """Read it from Orthanc's configuration: ``Address``, ``Port``, ``Certificate``, ``Key``, ``Authority``."""
        return cls(
            str(document["Address"]),
            int(document["Port"]),
            *(Path(document[name]) for name in ("Certificate", "Key", "Authority")),
        )

    def client_tls(self) -> ssl.SSLContext:
        """Make a client's TLS context that trusts the authority and presents this node's certificate."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.load_cert_chain(self.certificate, self.key)
        return context
