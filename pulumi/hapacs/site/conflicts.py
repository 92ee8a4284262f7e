"""Two images with the same UIDs and other bytes, one at each site: found, and decided by a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hapacs.errors import HapacsError, RefusedError
from hapacs.site import node_program

if TYPE_CHECKING:
    from hapacs.site.access import Site

_TIMEOUT_S = 120
_MOST = 100_000


@dataclass(frozen=True)
class Version:
    """The image of one site: SHA-256, who stored it, and when (UTC)."""

    digest: str
    caller: str
    stored_at: datetime


@dataclass(frozen=True)
class Conflict:
    """An image of which each site has another one, by the sites' names."""

    study: str
    sop: str
    versions: dict[str, Version]


def find(sites: Sequence[Site]) -> list[Conflict]:
    """Return the images that both sites have set aside.

    What only one site has set aside is no conflict: the other one refuses it for another reason.

    Raises
    ------
    HapacsError
        When a site does not answer.
    """
    asides = {site.name: _aside(site) for site in sites}
    first, *others = asides.values()
    return [
        Conflict(one["study"], sop, {name: _version(found[sop]) for name, found in asides.items()})
        for sop, one in first.items()
        if all(sop in other for other in others)
    ]


def decide(sites: Sequence[Site], winner: str, sops: Sequence[str], reason: str) -> int:
    """Let the images of one site replace those of the other one, and return how many.

    Parameters
    ----------
    winner
        The site whose images stay.
    sops
        SOP Instance UIDs of conflicts.
    reason
        Why, for the records of both sites.

    Raises
    ------
    HapacsError
        When a site does not answer. What was decided until then stays decided, and it can be repeated.
    """
    if winner not in {site.name for site in sites}:
        raise RefusedError(f"There is no site {winner!r}.", f"Sites: {', '.join(site.name for site in sites)}.")
    words = ("--reason", reason, "--operator", node_program.operator())
    text = "\n".join(sops)
    for site in sites:
        if site.name != winner:
            node_program.first_report(site, ("replication", "give-way", *words), _TIMEOUT_S, text)
    kept = next(site for site in sites if site.name == winner)
    done: list[str] = node_program.first_report(kept, ("replication", "keep", *words), _TIMEOUT_S, text)["done"]
    if missing := set(sops) - set(done):
        raise HapacsError(
            f"{len(missing):,} images are not sent again by {winner}: {', '.join(sorted(missing)[:3])}.",
            "They were decided before, or removed. `hapacs dr conflicts` lists what is left.",
        )
    return len(done)


def _aside(site: Site) -> dict[str, dict[str, Any]]:
    words = ("replication", "aside", "--limit", str(_MOST))
    found: list[dict[str, Any]] = node_program.first_report(site, words, _TIMEOUT_S)["aside"]
    return {one["sop"]: one for one in found}


def _version(one: dict[str, Any]) -> Version:
    return Version(one["digest"], one["caller"] or "an unknown caller", datetime.fromisoformat(one["stored_at"]))
