"""Measures how fast a site stores, compared with a bare Orthanc on one of its nodes, alternating in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from hapacs.bench import bare, cpu, footprint
from hapacs.bench.statistics import Series, latency, ratio
from hapacs.dicom import Peer
from hapacs.errors import HapacsError
from hapacs.load import burst
from hapacs.load.burst import Outcome
from hapacs.load.images import Study, made_study
from hapacs.site.access import Site

Side = Literal["bare", "site"]
OnStep = Callable[[str], None]
SHOWN_FAILURES = 5
"""Reasons of failed requests in a result."""


@dataclass(frozen=True)
class Options:
    """Options of a measurement.

    Attributes
    ----------
    associations
        Concurrent associations; each sends its own study. What one association alone reaches is measured as well.
    instances
        Number of instances in one round, over all associations; one association alone sends a quarter of them.
    rows
        Rows and columns of an image of 16 bits.
    rounds
        Rounds of each side, after one round of each that isn't counted.
    """

    associations: int = 8
    instances: int = 200
    rows: int = 512
    rounds: int = 5

    @property
    def parts(self) -> tuple[Options, ...]:
        """What is measured: all associations, and one alone unless that is the same."""
        alone = replace(self, associations=1, instances=-(-self.instances // 4))
        return (self, alone) if self.associations > 1 else (self,)

    @property
    def image_bytes(self) -> int:
        """Size of all images at one side."""
        return (self.rounds + 1) * sum(part.instances for part in self.parts) * 2 * self.rows**2


@dataclass
class Rounds:
    """The rounds of one side.

    Attributes
    ----------
    used
        Processor time, over all rounds.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    used: cpu.Used = field(default_factory=cpu.Used)

    def add(self, outcome: Outcome, used: cpu.Used) -> None:
        """Add a round."""
        self.outcomes.append(outcome)
        self.used.add(used)

    @property
    def per_s(self) -> Series:
        """Instances a second, of each round."""
        return Series(tuple(outcome.per_s for outcome in self.outcomes))

    def document(self) -> dict[str, Any]:
        """Describe it for JSON."""
        responses = [seconds for outcome in self.outcomes for seconds in outcome.responses]
        return {
            "per_s": self.per_s.document(),
            "instances": len(responses),
            "response_ms": latency(responses),
            **self.used.document(len(responses)),
        }


def turns[T](rounds: int, one: T, other: T) -> Iterator[tuple[int, T]]:
    """Return the order of the rounds: the first side alternates, so that drift affects both. Round 0 isn't counted."""
    for number in range(rounds + 1):
        for side in (other, one) if number % 2 else (one, other):
            yield number, side


def order(rounds: int) -> Iterator[tuple[int, Side]]:
    """Return the order of the rounds of site and bare Orthanc."""
    sides: tuple[Side, Side] = ("site", "bare")
    return turns(rounds, *sides)


def studies(options: Options) -> list[Study]:
    """Make the studies of one round, one for each association."""
    share, more = divmod(options.instances, options.associations)
    return [made_study(share + (number < more), options.rows) for number in range(options.associations)]


def run(site: Site, options: Options, on_step: OnStep = lambda _: None) -> dict[str, Any]:
    """Measure.

    Returns
    -------
    dict
        Fit for JSON: ``ratio``, ``site_per_s``, ``bare_per_s``, ``failed``, the details of each side, and the same for
        one association in ``alone``.

    Raises
    ------
    HapacsError
        When a disk has too little space, the site isn't healthy, or no image could be stored.
    """
    on_step("looking for room")
    footprint.require_room(site, 2 * options.image_bytes)
    measured = [_Part(part) for part in options.parts]
    sent: list[Study] = []
    try:
        with bare.running(site) as reference:
            peers: dict[Side, Peer] = {"bare": reference.peer, "site": site.store_peer}
            for turn, (number, side) in enumerate(order(options.rounds)):
                for part in measured:
                    if turn % 2 == 0:
                        part.made = studies(part.options)
                        sent += part.made
                    on_step(f"{side}, round {number} of {options.rounds}, {part.options.associations} at a time")
                    outcome, used = cpu.measured(site, partial(burst.send, site.caller, peers[side], part.made))
                    part.failures += outcome.failures
                    require_answers(outcome, side)
                    if number:
                        part.sides[side].add(outcome, used)
        on_step("looking whether all of it is there")
        lost = sum(len(study.images) for study in sent) - footprint.found(site, sent)
    finally:
        on_step("removing what was stored")
        footprint.remove(site, sent)
    failures = [failure for part in measured for failure in part.failures]
    first, *alone = (part.document() for part in measured)
    return {
        **first,
        # Refused images count as missing too.
        "failed": max(len(failures), lost),
        "failures": failures[:SHOWN_FAILURES],
        "rows": options.rows,
        **({"alone": alone[0]} if alone else {}),
    }


def parts(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what a result of `run` has for each number of associations; an older one has no ``alone``."""
    return [document, *([document["alone"]] if "alone" in document else [])]


@dataclass
class _Part:
    """What is measured with one number of associations."""

    options: Options
    made: list[Study] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    sides: dict[Side, Rounds] = field(default_factory=lambda: {"bare": Rounds(), "site": Rounds()})

    def document(self) -> dict[str, Any]:
        site, reference = self.sides["site"].per_s, self.sides["bare"].per_s
        return {
            "ratio": ratio(site, reference),
            "site_per_s": round(site.median, 2),
            "bare_per_s": round(reference.median, 2),
            "associations": self.options.associations,
            "instances_per_round": self.options.instances,
            **{side: rounds.document() for side, rounds in self.sides.items()},
        }


def require_answers(outcome: Outcome, side: Side) -> None:
    """Require that a side stored any image.

    Raises
    ------
    HapacsError
        When it did not.
    """
    if not outcome.responses:
        reason = _first(outcome.failures)
        raise HapacsError(f"The {side} stored no image: {reason}.", "`hapacs verify --only c-store` tries the site.")


def _first(texts: Sequence[str]) -> str:
    return texts[0] if texts else "no reason given"
