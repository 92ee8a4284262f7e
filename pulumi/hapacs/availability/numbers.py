"""Series of both Prometheus of a site, joined: what one of them missed the other one may have.

The API is Prometheus' HTTP API (``docs/querying/api.md`` in its source).
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx

from hapacs.errors import HapacsError

if TYPE_CHECKING:
    from hapacs.site.access import Site

Labels = tuple[tuple[str, str], ...]
"""Names and values, sorted."""
Series = dict[Labels, dict[int, float]]
"""Values by the time in seconds since the epoch, by labels."""

_TIMEOUT = httpx.Timeout(60, connect=5)
_MOST_POINTS = 10_000
"""Prometheus refuses questions for more than 11,000 points of a series."""


class Numbers:
    """What the Prometheus of a site have recorded.

    Attributes
    ----------
    problems
        Which of them did not answer, and why.
    answered
        How many answers came.
    """

    def __init__(self, urls: Mapping[str, str], tls: ssl.SSLContext | None) -> None:
        self._urls = dict(urls)
        self._client = httpx.Client(verify=True if tls is None else tls, timeout=_TIMEOUT, trust_env=False)
        self.problems: dict[str, str] = {}
        self.answered = 0

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def series(self, query: str, begin: datetime, end: datetime, step: timedelta) -> Series:
        """Return the values of an expression at each step; where both have one, the higher one, which is the worse."""
        found: Series = {}
        for node, url in self._urls.items():
            for first, last in _parts(int(begin.timestamp()), int(end.timestamp()), int(step.total_seconds())):
                if node in self.problems:
                    break
                asked = {"query": query, "start": first, "end": last, "step": int(step.total_seconds())}
                for one in self._ask(node, url, asked):
                    points = found.setdefault(tuple(sorted(one["metric"].items())), {})
                    for at, text in one["values"]:
                        value = float(text)
                        if not math.isnan(value):
                            points[int(at)] = max(value, points.get(int(at), value))
        return found

    def _ask(self, node: str, url: str, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        try:
            answer = self._client.post(f"{url}/api/v1/query_range", data=asked)
            document = answer.json()
            if answer.is_success and document["status"] == "success":
                self.answered += 1
                result: list[dict[str, Any]] = document["data"]["result"]
                return result
            self.problems[node] = str(document["error"])
        except (httpx.HTTPError, OSError, ValueError, KeyError) as error:
            self.problems[node] = f"{type(error).__name__}: {error}"
        return []


def _parts(begin: int, end: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of the parts that Prometheus answers at once."""
    while begin <= end:
        last = min(end, begin + (_MOST_POINTS - 1) * step)
        yield begin, last
        begin = last + step


def of_site(site: Site) -> Numbers:
    """Return the numbers of a site that is up.

    Raises
    ------
    HapacsError
        When the authority `monitoring` has no certificate here.
    """
    try:
        return Numbers(site.pair("prometheus"), site.tls("monitoring", client=True))
    except OSError as error:
        raise HapacsError(
            f"The certificates for the Prometheus of {site.name} can't be read: {error}.",
            f"`hapacs up {site.deployment.name}` makes them; run it as the user who set up the deployment.",
        ) from error
