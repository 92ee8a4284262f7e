"""One of two sites leads: the second one is promoted, both are brought to the same images, the lead goes back.

The state of each site is a row of its own catalog (`hapacs_node.catalog.site`), which its nodes read and change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from hapacs import interruption
from hapacs.errors import HapacsError, RefusedError
from hapacs.site import node_program
from hapacs.site.access import NodeError, Site

LOOK_S = 20.0
_PERIOD_S = 3.0
# While stores are refused at both sites. What was under way at that moment is copied in seconds.
_HELD_S = 120.0

State = Literal["leads", "follows", "fenced"]
type Now = Callable[[str], None]


@dataclass(frozen=True)
class Seen:
    """What a site says of itself.

    Attributes
    ----------
    site
        The site.
    document
        The report of `hapacs-node site show`; None when no node of it has one.
    silent
        Why it has none.
    """

    site: Site
    document: dict[str, Any] | None
    silent: str = ""

    @property
    def standing(self) -> dict[str, Any]:
        """State, term, and what the other site said.

        Raises
        ------
        HapacsError
            When the site does not answer, or copies nothing.
        """
        if self.document is None:
            raise HapacsError(f"{self.site.name} does not answer: {self.silent}", "Try again when its nodes are up.")
        if self.document["site"] is None:
            raise HapacsError(
                f"{self.site.name} copies no images.", "Set policy.replicate at the primary site, then `hapacs up`."
            )
        found: dict[str, Any] = self.document["site"]
        return found

    @property
    def state(self) -> State:
        """Whether it leads."""
        found: State = self.standing["state"]
        return found

    @property
    def term(self) -> int:
        """Its term, or that of the other site as far as it knows a higher one."""
        other = self.standing["other"] or {"term": 1}
        return max(int(self.standing["term"]), int(other["term"]))

    @property
    def missing(self) -> int:
        """How many of its images the other site lacks, as far as they are planned."""
        return 0 if self.document is None else int(self.document["says"]["images"])

    @property
    def removals(self) -> int:
        """How many of its deletions the other site was not told yet."""
        return 0 if self.document is None else int(self.document["says"].get("removals", 0))

    @property
    def caught_up(self) -> bool:
        """Whether the other site has all its images, and knows of all deletions."""
        if self.document is None or self.missing or self.removals:
            return False
        return bool(self.document["says"]["past_ended"])


def look(site: Site, timeout_s: float = LOOK_S) -> Seen:
    """Ask all nodes of a site at the same time what the site is, and return the first answer."""
    nodes = site.members("pacs")
    answers = node_program.reports(site, nodes, ("site", "show"), timeout_s)
    found = [one for one in answers if not isinstance(one, NodeError)]
    silent = "; ".join(
        f"{node.name}: {one.reason}" for node, one in zip(nodes, answers, strict=True) if isinstance(one, NodeError)
    )
    return Seen(site, found[0] if found else None, silent)


@dataclass(frozen=True)
class Sites:
    """The two sites of a deployment.

    Attributes
    ----------
    primary, second
        By their roles.
    """

    primary: Site
    second: Site

    @classmethod
    def of(cls, found: Sequence[Site]) -> Sites:
        """Return both sites of a deployment.

        Raises
        ------
        RefusedError
            When it has not one of each role.
        """
        roles = {site.contract["role"]: site for site in found}
        if set(roles) != {"primary", "dr"} or len(found) != len(roles):
            raise RefusedError(
                "The deployment has no second site.", "Add a site with the role dr: docs/operations/second-site.md."
            )
        return cls(roles["primary"], roles["dr"])

    def look(self) -> tuple[Seen, Seen]:
        """Ask both sites at the same time; the primary one comes first."""
        with interruption.Workers(max_workers=2) as pool:
            primary, second = pool.map(look, (self.primary, self.second))
        return primary, second


def change(site: Site, state: State, term: int, known: int, reason: str) -> None:
    """Change what a site is; nothing is changed when its term is not the known one.

    Raises
    ------
    HapacsError
        When it does not answer, or its term is another one.
    """
    words = ("site", "change", state, "--term", str(term), "--known", str(known), "--reason", reason)
    node_program.first_report(site, (*words, "--operator", node_program.operator()), LOOK_S)


def resync(site: Site) -> None:
    """Have a site ask the other one for all its images, and send what that one lacks.

    Raises
    ------
    HapacsError
        When it does not answer, or copies nothing.
    """
    node_program.first_report(site, ("site", "resync"), LOOK_S)


def promote(sites: Sites, missing: int | None, now: Now) -> dict[str, Any]:
    """Make the second site lead, and return what is known of the images that it lacks.

    Parameters
    ----------
    sites
        Both sites.
    missing
        How many images may be missing there while the primary site answers.
    now
        Shows what is done.

    Raises
    ------
    RefusedError
        When the second site leads already, or the primary one answers and it was not told how many may be missing.
    """
    now("asking both sites")
    began = time.monotonic()
    primary, second = sites.look()
    if second.state == "leads":
        raise RefusedError(f"{sites.second.name} leads already.", "`hapacs dr failback` brings the lead back.")
    other = second.standing["other"]
    silent = {"images": 0, "oldest_s": 0, "missing": [], "past_ended": False, "as_of": None}
    known: dict[str, Any] = silent | (other or {})
    term = second.term
    if primary.document is not None:
        primary = _fenced(primary, sites.second.name, missing, now)
        known, term = primary.document["says"] if primary.document else known, max(term, primary.term)
    now(f"{sites.second.name} leads from now on")
    reason = "promoted: the primary site is lost" if primary.document is None else "promoted while the primary answered"
    change(sites.second, "leads", term + 1, int(second.standing["term"]), reason)
    return {
        "leads": sites.second.name,
        "term": term + 1,
        "primary_answered": primary.document is not None,
        "as_of": known["as_of"],
        "missing": known["images"],
        "missing_is_all": known["past_ended"],
        "named": list(known["missing"]),
        "rpo_s": known["oldest_s"],
        "seconds": round(time.monotonic() - began, 1),
    }


def _fenced(primary: Seen, second: str, missing: int | None, now: Now) -> Seen:
    """Fence a primary site that answers, when no more images would be missing than the operator said."""
    name, known = primary.site.name, int(primary.standing["term"])
    if missing is None or primary.missing > missing:
        raise RefusedError(
            f"{name} answers, and {primary.missing:,} of its acknowledged images are not at {second}"
            f"{'' if primary.document and primary.document['says']['past_ended'] else ', and images of the past'}.",
            f"`hapacs dr switch` moves the lead without a loss. To promote nevertheless: --missing {primary.missing}.",
        )
    now(f"{name} stores no more images")
    change(primary.site, "fenced", known, known, f"{second} is promoted")
    again = look(primary.site)
    if again.missing > missing:
        change(primary.site, primary.state, known, known, f"{second} was not promoted")
        raise RefusedError(f"Meanwhile {again.missing:,} images are missing.", "Look, and give that number.")
    return again


def move(sites: Sites, to: Site, wait_s: float, prove: Callable[[], None], now: Now) -> dict[str, Any]:
    """Give the lead to a site without a loss: both have the same images before it leads.

    Parameters
    ----------
    sites
        Both sites.
    to
        The one that is to lead.
    wait_s
        How long to wait until each has the images of the other, while stores go on.
    prove
        Compares both sites; raises HapacsError when they differ.
    now
        Shows what is done.

    Raises
    ------
    RefusedError
        When it leads already.
    HapacsError
        When a site does not answer, or the images are not copied in time, or the sites differ. The lead stays where it
        was.
    """
    seen = dict(zip(("primary", "dr"), sites.look(), strict=True))
    role = to.contract["role"]
    target, source = seen[role], seen["dr" if role == "primary" else "primary"]
    if target.state == "leads" and source.term <= int(target.standing["term"]):
        raise RefusedError(f"{to.name} leads already.", "`hapacs dr status` shows both sites.")
    if source.state == "follows":
        raise RefusedError(f"{source.site.name} does not lead.", "`hapacs dr status` shows both sites.")
    if target.state == "leads":
        # It came back, and has not heard of the higher term yet.
        known = int(target.standing["term"])
        change(to, "fenced", known, known, f"{source.site.name} leads with term {source.term}")
    began = time.monotonic()
    _catch_up(sites, wait_s, now)
    now("comparing both sites")
    # It takes minutes at a large site. What comes after it is proved by its own confirmation.
    prove()
    held = time.monotonic()
    with _held(source, to.name):
        _catch_up(sites, _HELD_S, now)
        now(f"{to.name} leads from now on")
        term = max(source.term, target.term) + 1
        change(to, "leads", term, int(look(to).standing["term"]), f"the lead came from {source.site.name}")
        held_s = time.monotonic() - held
    if source.site.contract["role"] == "dr":
        change(source.site, "follows", term, int(look(source.site).standing["term"]), f"{to.name} leads again")
    seconds = round(time.monotonic() - began, 1)
    return {"leads": to.name, "term": term, "seconds": seconds, "held_s": round(held_s, 1)}


@contextmanager
def _held(source: Seen, other: str) -> Iterator[None]:
    """Let a site store nothing; it leads again when the lead can't be given away."""
    known = int(source.standing["term"])
    change(source.site, "fenced", known, known, f"{other} is about to lead")
    try:
        yield
    except BaseException:
        change(source.site, "leads", known, known, f"{other} could not take the lead")
        raise


def _catch_up(sites: Sites, wait_s: float, now: Now) -> None:
    """Wait until each site has the images of the other one."""
    end = time.monotonic() + wait_s
    while True:
        seen = sites.look()
        if all(one.caught_up for one in seen):
            return
        # Whether a site answers at all is said by its own words.
        left = ", ".join(f"{one.missing + one.removals:,} of {one.site.name}" for one in seen if one.standing)
        now(f"images and deletions that the other site lacks: {left}")
        if time.monotonic() > end:
            raise HapacsError(
                f"Not all images and deletions are at the other site after {wait_s:g} s: {left}.",
                "`hapacs-node replication status` on a node says why. Images that were set aside have to be decided: "
                "`hapacs dr conflicts`, and docs/runbooks/delivery-given-up.md. Give more time with --wait.",
            )
        time.sleep(_PERIOD_S)
