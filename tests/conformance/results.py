"""The table of the outcome: which client did what, at which version, and whether it went as it should."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

_HEAD = """# Conformance results

Clients that were not written here, at a site that is up. `make conformance` writes this page; the tests are in
`tests/conformance`.

"""


@dataclass(frozen=True)
class Result:
    """The outcome of one test.

    Attributes
    ----------
    client, version
        Which client.
    does
        What it does, in one sentence.
    outcome
        ``passed``, ``failed`` or ``skipped``, with the reason of the last one.
    """

    client: str
    version: str
    does: str
    outcome: str


def page(results: Iterable[Result], version: str, at: datetime) -> str:
    """Return the page with the table.

    Parameters
    ----------
    results
        In the order of the tests.
    version
        Of hapacs.
    at
        When the tests ended.
    """
    said = f"hapacs {version}, {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC.\n\n"
    rows = [f"| {one.client} {one.version} | {one.does} | {one.outcome} |\n" for one in results]
    return _HEAD + said + "| client | what it does | outcome |\n|---|---|---|\n" + "".join(rows)
