"""Failures of a gateway: the exceptions of its client, and their words in messages."""

from collections.abc import Mapping

from obstore.exceptions import BaseError

from hapacs_node.errors import CasUnavailableError

# obstore reports "not found" with the built-in FileNotFoundError, an OSError.
FAILURES = (BaseError, OSError, ValueError)
"""Everything that a client of a gateway raises."""


def brief(error: BaseException) -> str:
    """Shorten obstore's message, which has the request in front and many lines of internals behind."""
    text = " ".join(str(error).split("Debug source")[0].split())
    return (text.partition(" - ")[2] or text)[:200]


def every(reasons: Mapping[str, str]) -> str:
    """Put the last answers of the gateways into one line."""
    return "; ".join(f"{url}: {reason}" for url, reason in reasons.items()) or "no gateway was asked"


def undone(operation: str, allowed_s: float, reasons: Mapping[str, str]) -> CasUnavailableError:
    """Make an error with the last answer of each gateway."""
    return CasUnavailableError(f"no gateway completed the {operation} within {allowed_s:g} s: {every(reasons)}")
