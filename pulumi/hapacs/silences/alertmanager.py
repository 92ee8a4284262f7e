"""The Alertmanagers of a site: each tells the other one which silences it has, so that one is asked.

The API is Alertmanager's version 2 (``api/v2/openapi.yaml`` in its source).
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from hapacs.errors import HapacsError

AUTHOR = "hapacs"
_TIMEOUT = httpx.Timeout(5, connect=3)
_EARLIER = timedelta(minutes=1)


class AlertmanagerError(HapacsError):
    """No Alertmanager did what was asked."""


class Alertmanagers:
    """The pair of a site.

    Parameters
    ----------
    urls
        Where they answer, in the order in which they are asked.
    tls
        With the certificate that they want to see; None: they are asked without TLS.
    """

    def __init__(self, urls: Sequence[str], tls: ssl.SSLContext | None) -> None:
        self._urls = tuple(urls)
        self._client = httpx.Client(verify=True if tls is None else tls, timeout=_TIMEOUT, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, method: str, path: str, content: Any = None) -> httpx.Response:
        """Ask one after the other until one does it.

        Raises
        ------
        AlertmanagerError
            With the answer of each.
        """
        reasons = []
        for url in self._urls:
            try:
                answer = self._client.request(method, f"{url}/api/v2/{path}", json=content)
            except (httpx.HTTPError, OSError) as error:
                reasons.append(f"{url}: {error}")
                continue
            if answer.is_success:
                return answer
            reasons.append(f"{url}: {answer.status_code} {answer.text.strip()[:200]}")
        if not reasons:
            reasons.append("the site has none")
        raise AlertmanagerError(
            f"No Alertmanager answered as it should: {'; '.join(reasons)}.",
            "Alerts that the command causes may be sent. `hapacs status` shows whether they run.",
        )

    def now(self) -> datetime:
        """Return their time: the controller's clock may be another one."""
        answer = self._ask("GET", "status")
        try:
            return parsedate_to_datetime(answer.headers["date"]).astimezone(UTC)
        except (KeyError, ValueError) as error:
            raise AlertmanagerError("The Alertmanager does not say what time it is.") from error

    def set(self, matchers: Mapping[str, str], now: datetime, limit: timedelta, comment: str) -> str:
        """Silence alerts for a time, and return the silence's identifier.

        Parameters
        ----------
        matchers
            Anchored regular expressions by label.
        now
            As `now` says it.
        """
        made = self._ask(
            "POST",
            "silences",
            {
                "matchers": [
                    {"name": name, "value": value, "isRegex": True, "isEqual": True} for name, value in matchers.items()
                ],
                # One in the past begins at once, whatever the clocks of the two say.
                "startsAt": (now - _EARLIER).isoformat(),
                "endsAt": (now + limit).isoformat(),
                "createdBy": AUTHOR,
                "comment": comment,
            },
        )
        return str(made.json()["silenceID"])

    def own(self, comment: str) -> list[str]:
        """Return the silences of ours with this comment that have not ended."""
        return [
            str(one["id"])
            for one in self._ask("GET", "silences").json()
            if one["status"]["state"] != "expired" and (one["createdBy"], one["comment"]) == (AUTHOR, comment)
        ]

    def end(self, silence: str, after: timedelta = timedelta()) -> None:
        """End a silence now, or after a time if it would not end before."""
        if not after:
            self._ask("DELETE", f"silence/{silence}")
            return
        found = self._ask("GET", f"silence/{silence}").json()
        ends = min(self.now() + after, datetime.fromisoformat(found["endsAt"]))
        kept = ("id", "matchers", "startsAt", "createdBy", "comment")
        self._ask("POST", "silences", {name: found[name] for name in kept} | {"endsAt": ends.isoformat()})
