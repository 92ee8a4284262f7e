"""Frames files as the body of a DICOMweb request (PS3.18 8.6.1.2, RFC 2387)."""

from collections.abc import Sequence
from uuid import uuid4


def framed(contents: Sequence[bytes], content_type: str) -> tuple[str, list[bytes]]:
    """Return the Content-Type of a request or answer, and its body in pieces, so that no content is copied."""
    boundary = f"hapacs-{uuid4().hex}"
    head = f"--{boundary}\r\nContent-Type: {content_type}\r\n\r\n".encode()
    pieces = [piece for content in contents for piece in (head, content, b"\r\n")]
    return f'multipart/related; type="{content_type}"; boundary={boundary}', [*pieces, f"--{boundary}--\r\n".encode()]
