"""Sets the silences of a command, and takes them away when it is done.

A silence that can't be set or taken away is said, and does not stop the command: alerts that come are better than an
operation that does not. Each one ends by itself, so that a command that was killed hides nothing for long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from hapacs.errors import HapacsError, RefusedError
from hapacs.silences.alertmanager import Alertmanagers
from hapacs.silences.causes import Cause

if TYPE_CHECKING:
    from hapacs.site.access import Site

SETTLE = timedelta(minutes=3)
"""Until nodes have collected their facts, and Prometheus has scraped and evaluated them, when all works again."""
_FAILURES = (HapacsError, OSError, ValueError, KeyError)

Warn = Callable[[str], None]
"""Says that a silence could not be set or taken away."""


def of_site(site: Site) -> Alertmanagers:
    """Return the Alertmanagers of a site that is up."""
    return Alertmanagers([*site.pair("prometheus-alertmanager").values()], site.tls("monitoring", client=True))


@contextmanager
def silenced(
    site: Site, causes: Sequence[Cause], comment: str, limit: timedelta, warn: Warn, *, stay: bool = False
) -> Iterator[bool]:
    """Silence what an operation on a site causes while the block runs; give whether that worked.

    After a success the silences end when the alerts of the operation have had time to end; after a failure they end at
    once, so that alerts say what is broken. Those with the same comment that an earlier run has left are replaced.

    Parameters
    ----------
    comment
        The command, as people know it.
    limit
        After it they end by themselves.
    stay
        Whether they stay until the limit after a success.
    """
    ours = _Silences(site, comment)
    try:
        ours.set(causes, limit)
    except _FAILURES as error:
        warn(f"The alerts that this causes are not silenced: {_reason(error)}")
        works = False
    else:
        works = bool(ours.made)
    try:
        yield works
    except RefusedError:
        # Nothing was changed: what an earlier run has silenced stays silenced.
        _end(site, dict.fromkeys(ours.made, timedelta()), warn)
        raise
    except BaseException:
        _end(site, dict.fromkeys([*ours.made, *ours.former], timedelta()), warn)
        raise
    ends = {} if stay else {one: SETTLE + timedelta(seconds=seconds) for one, seconds in ours.made.items()}
    _end(site, ends | dict.fromkeys(ours.former if works else [], timedelta()), warn)


def lift(site: Site, comment: str, warn: Warn) -> None:
    """End the silences that an earlier command has left, when its alerts have had time to end."""
    try:
        alertmanagers = of_site(site)
        try:
            left = alertmanagers.own(comment)
        finally:
            alertmanagers.close()
    except _FAILURES as error:
        warn(f"The silences of `{comment}` are not taken away: {_reason(error)}")
        return
    _end(site, dict.fromkeys(left, SETTLE), warn)


@dataclass
class _Silences:
    """The silences of one command.

    Attributes
    ----------
    made
        How long the alerts of each stay after their cause is gone, in seconds, by the identifier.
    former
        Those that an earlier run has left.
    """

    site: Site
    comment: str
    made: dict[str, int] = field(default_factory=dict)
    former: list[str] = field(default_factory=list)

    def set(self, causes: Sequence[Cause], limit: timedelta) -> None:
        """Set one for each cause."""
        if not causes:
            return
        alertmanagers = of_site(self.site)
        label = {"site": re.escape(f"{self.site.deployment.name}-{self.site.name}")}
        try:
            self.former = alertmanagers.own(self.comment)
            now = alertmanagers.now()
            for cause in causes:
                for seconds, part in cause.by_window():
                    until = limit + timedelta(seconds=seconds)
                    self.made[alertmanagers.set(label | part.matchers(), now, until, self.comment)] = seconds
        finally:
            alertmanagers.close()


def _end(site: Site, silences: dict[str, timedelta], warn: Warn) -> None:
    if not silences:
        return
    try:
        alertmanagers = of_site(site)
        try:
            for silence, after in silences.items():
                alertmanagers.end(silence, after)
        finally:
            alertmanagers.close()
    except _FAILURES as error:
        warn(f"A silence is not taken away, and ends by itself: {_reason(error)}")


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, HapacsError) else f"{type(error).__name__}: {error}"
