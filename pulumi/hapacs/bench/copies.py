"""Measures what copies to the second site cost those that store: copies on and off in turns, then beside a backlog.

Copies are switched as `hapacs up` switches them, by the rules of the site. Images of the past are left out meanwhile:
whenever copies are switched on all of them are planned again, which would be measured too.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from hapacs.bench import backlog, cpu, footprint, ingest
from hapacs.bench.ingest import OnStep, Rounds
from hapacs.bench.routing import Subject
from hapacs.bench.statistics import Series, percentile, ratio
from hapacs.errors import HapacsError, RefusedError
from hapacs.load.burst import Outcome
from hapacs.site import second_site
from hapacs.site.access import Site
from hapacs.site.database import Database
from hapacs_node.replication.names import DESTINATION

Copies = Literal["off", "on"]
Beside = Literal["nothing", "backlog"]
_LOOK_S = 20.0
# The last images of a backlog have to be there before the next round. A slower site is not measured.
_LEAST_PER_S = 10


@dataclass(frozen=True)
class Options(ingest.Options):
    """Options of a measurement; those of `ingest.Options`, and one more.

    Attributes
    ----------
    backlog
        How many images wait for the other site before their copies begin.
    """

    backlog: int = 10_000

    @property
    def image_bytes(self) -> int:
        """Size of all images: the rounds of both comparisons, and the backlog."""
        instances = (4 * self.rounds + 2) * self.instances + self.backlog
        return instances * 2 * self.rows**2

    @property
    def wait_s(self) -> float:
        """Time for the copies of all images that wait."""
        return footprint.COPIES_S + self.backlog / _LEAST_PER_S


def run(site: Site, options: Options, on_step: OnStep = lambda _: None) -> dict[str, Any]:
    """Measure; then load the rules that were there, and remove what was stored.

    Returns
    -------
    dict
        Fit for JSON: ``ratio`` (rates of stores with copies, compared with those without), ``p95_ratio`` (p95 of a
        store beside a backlog that is sent, compared with that without one), ``failed``, and the details.

    Raises
    ------
    RefusedError
        When the deployment isn't a lab, or copies no images now.
    HapacsError
        When a disk has too little space, the site isn't healthy, or copies are not sent.
    """
    if not site.deployment.settings.target.expendable:
        raise RefusedError("Copies of images are switched off in a lab only.", "`hapacs bench copies lab`")
    _require_copies(site)
    on_step("looking for room")
    footprint.require_room(site, options.image_bytes)
    subject = Subject(site, Database.of(site))
    before = subject.rules()
    measured = _Measurement(subject, options, on_step)

    def remove() -> None:
        on_step("removing what was stored")
        footprint.remove(site, subject.stored)

    with ExitStack() as stack:
        stack.callback(remove)
        stack.callback(subject.load, before)
        stack.callback(backlog.release, subject, DESTINATION)
        measured.drain()
        rates = measured.rates(before)
        times = measured.times()
        on_step("looking whether all of it is there")
        stored = sum(len(study.images) for study in subject.stored)
        lost = stored - footprint.found(site, subject.stored)
    p95 = {beside: p95_ms(rounds) for beside, rounds in times.items()}
    return {
        "ratio": ratio(rates["on"].per_s, rates["off"].per_s),
        "p95_ratio": ratio(p95["backlog"], p95["nothing"]),
        # Refused images count as missing too.
        "failed": max(len(measured.failures), lost),
        "failures": measured.failures[: ingest.SHOWN_FAILURES],
        "associations": options.associations,
        "instances_per_round": options.instances,
        "rows": options.rows,
        "backlog": options.backlog,
        "copies": {copies: rounds.document() for copies, rounds in rates.items()},
        "beside": {beside: rounds.document() | {"p95_ms": p95[beside].document()} for beside, rounds in times.items()},
    }


def p95_ms(rounds: Rounds) -> Series:
    """Return the response time that 95 % of the stores of each round don't exceed, in milliseconds."""
    return Series(tuple(1000 * percentile(outcome.responses, 95) for outcome in rounds.outcomes))


def _require_copies(site: Site) -> None:
    lag = second_site.lag(site, _LOOK_S)
    if lag is None:
        raise RefusedError(
            f"{site.name} copies no images.", "Set policy.replicate at the primary site, then `hapacs up`."
        )
    # Copies that are switched off and on again make a primary site that follows lead.
    if (state := lag.get("state", "leads")) != "leads":
        raise RefusedError(f"{site.name} does not lead, its state is {state}.", "`hapacs dr status` says more.")
    if lag.get("held"):
        raise RefusedError(
            f"An operator holds the copies to {lag['name']}.",
            f'`hapacs-node outbox release --destination "{DESTINATION}"` on a node lets them go.',
        )


@dataclass
class _Measurement:
    """The rounds of a measurement."""

    subject: Subject
    options: Options
    on_step: OnStep
    failures: list[str] = field(default_factory=list)

    def drain(self) -> None:
        """Wait until the other site has all images: copies of one round must not be measured in the next one."""
        left = footprint.wait_for_copies(self.subject.site, self.on_step, self.options.wait_s)
        if left:
            raise HapacsError(
                f"The other site lacks {left:,} images after {self.options.wait_s:.0f} s.",
                "`hapacs dr status` says why. A smaller --backlog or --size needs less time.",
            )

    def rates(self, before: Mapping[str, Any]) -> dict[Copies, Rounds]:
        """Store with copies off and on in turns; afterwards they are on."""
        rules: dict[Copies, Mapping[str, Any]] = {
            "off": {name: value for name, value in before.items() if name != "second_site"},
            "on": {**before, "second_site": {**before["second_site"], "past": False}},
        }
        found: dict[Copies, Rounds] = {"off": Rounds(), "on": Rounds()}
        for number, copies in ingest.turns(self.options.rounds, *found):
            self.subject.load(rules[copies])
            outcome, used = self._round(f"copies {copies}, round {number} of {self.options.rounds}")
            if number:
                found[copies].add(outcome, used)
            if copies == "on":
                self.drain()
        self.subject.load(rules["on"])
        return found

    def times(self) -> dict[Beside, Rounds]:
        """Store beside a backlog that is sent, and beside nothing before and after it: drift affects both."""
        found: dict[Beside, Rounds] = {"nothing": Rounds(), "backlog": Rounds()}
        afterwards = self.options.rounds // 2
        self._beside_nothing(found["nothing"], self.options.rounds - afterwards)
        self._make_backlog()
        backlog.release(self.subject, DESTINATION)
        for number in range(self.options.rounds):
            outcome, used = self._round(f"beside the backlog, round {number + 1} of {self.options.rounds}")
            # The newest images are sent first: what waits beyond those of a round is the backlog.
            if backlog.count(self.subject, DESTINATION, "waiting") <= self.options.instances:
                break
            found["backlog"].add(outcome, used)
        if not found["backlog"].outcomes:
            raise HapacsError(
                f"The backlog of {self.options.backlog:,} images was sent before a round was over.",
                "Give a larger --backlog, or fewer --instances.",
            )
        self.drain()
        self._beside_nothing(found["nothing"], afterwards)
        return found

    def _beside_nothing(self, rounds: Rounds, number: int) -> None:
        for _ in range(number):
            rounds.add(*self._round("beside nothing"))
            self.drain()

    def _make_backlog(self) -> None:
        """Hold the copies, and store."""
        backlog.hold(self.subject, DESTINATION)
        refused: list[str] = []
        for left, studies in backlog.batches(self.options.backlog, self.options.rows):
            self.on_step(f"storing the backlog, {left:,} images to go")
            refused += self.subject.store(studies)
        self.failures += refused
        self.on_step("waiting until the copies of the backlog are planned")
        backlog.wait(self.subject, DESTINATION, "waiting", self.options.backlog - len(refused))

    def _round(self, step: str) -> tuple[Outcome, cpu.Used]:
        made = ingest.studies(self.options)
        self.on_step(step)
        outcome, used = cpu.measured(self.subject.site, partial(self.subject.send, made))
        self.failures += outcome.failures
        ingest.require_answers(outcome, "site")
        return outcome, used
