"""TLS as the site's own clients speak it."""

from __future__ import annotations

import ssl
from pathlib import Path


def certified(authorities: Path, authority: str) -> ssl.SSLContext:
    """Make the TLS of a client with a certificate of an authority; who serves must have one of `pacs`."""
    context = ssl.create_default_context(cafile=str(authorities / "pacs" / "ca.crt"))
    context.load_cert_chain(authorities / f"controller-{authority}.crt", authorities / f"controller-{authority}.key")
    return context
