"""Conducts one drill: steady state, fault with its proof, measurement, healing in every case, check of every image."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from hapacs.drills.load import Load
from hapacs.drills.model import MINIMUM_RATE, Drill, Injected, Prepared, Result, UnprovedError
from hapacs.drills.scene import Scene
from hapacs.errors import RefusedError

_GRACE_S = 2
"""A pause in the stores that is not longer than this, or than twice the longest one before the fault, is no outage."""


@dataclass(frozen=True)
class Limits:
    """How long the parts of a drill take, in seconds.

    Attributes
    ----------
    steady_s
        Load before the fault.
    after_s
        Load after the fault was undone.
    back_s
        Time in which the site has to be whole again by itself.
    equal_s
        Time in which the other site has to have all images again: a pause between two tries is five minutes at most.
    """

    steady_s: float = 8
    after_s: float = 5
    back_s: float = 150
    equal_s: float = 900
    every_s: float = 0.5


@dataclass
class Conductor:
    """Conducts drills on one scene.

    Parameters
    ----------
    watching
        Returns the context in which a fault is undone even if this process ends; it takes the places of the fault.
    silencing
        Returns the context in which the alerts are silenced that the fault causes.
    stops
        Whether a drill ends at once when the site stores nothing for longer than the deadline: patients depend on it.
    """

    scene: Scene
    watching: Callable[[Sequence[str]], AbstractContextManager[None]]
    silencing: Callable[[Drill, Prepared], AbstractContextManager[object]]
    stops: bool
    on_step: Callable[[str], None]
    limits: Limits = field(default_factory=Limits)

    def conduct(self, drill: Drill, load: Load, seed: int) -> Result:
        """Run a drill.

        Raises
        ------
        RefusedError
            When the site is not whole, or the nodes refuse drills: nothing was changed.
        """
        self.on_step("looking whether the site is whole")
        if problems := self.scene.problems():
            raise RefusedError(
                "\n".join(["A drill begins on a site that is whole only:", *(f"- {one}" for one in problems)]),
                "Repair that first; `hapacs status` shows it.",
            )
        self.on_step("preparing the fault")
        load.store_first()
        result = Result(drill, time.time(), seed)
        try:
            prepared = self.scene.prepare(drill, load.image_bytes)
        except UnprovedError as error:
            self._void(result, error.message)
        else:
            with self.silencing(drill, prepared):
                self._under_load(drill, prepared, load, result)
                # Not under load: the other site is always behind by what is on its way.
                if drill.elsewhere and not result.void:
                    self._settle(result)
        self.on_step("checking every acknowledged image")
        result.kept = load.check()
        self._judge(result)
        return result

    def _under_load(self, drill: Drill, prepared: Prepared, load: Load, result: Result) -> None:
        result.at = time.time()
        with load:
            self.on_step("storing, before the fault")
            time.sleep(self.limits.steady_s)
            begun = time.time()
            result.rate_per_s = sum(at >= result.at for at in load.acknowledged()) / (begun - result.at)
            if result.rate_per_s < MINIMUM_RATE:
                self._void(result, f"{result.rate_per_s:.1f} images a second were stored before the fault: too few")
            else:
                self._fault(drill, prepared, load, result)
            ended = time.time()
        self._measure(result, load, ended)

    def _fault(self, drill: Drill, prepared: Prepared, load: Load, result: Result) -> None:
        places = prepared.places
        with self.watching(places):
            try:
                self.on_step(f"injecting the fault: {drill.sentence}")
                injected = self.scene.inject(drill, prepared)
                result.node, result.proof = injected.node, injected.proof
                result.marks["fault"] = injected.at
                self._hold(drill, load, injected, result)
                if drill.refuses:
                    self._require_refusal(load, injected, result)
                if drill.elsewhere:
                    result.lacking = self.scene.lacking()
            except UnprovedError as error:
                self._void(result, error.message)
            finally:
                self.on_step("undoing the fault")
                self._heal(places, result)
        self.on_step("waiting until the site is whole")
        if left := self._left(self.scene.problems, self.limits.back_s):
            reason = f"The site was not whole {self.limits.back_s:.0f} s after the fault was undone"
            result.reasons.append(f"{reason}: {'; '.join(left)}.")
        time.sleep(self.limits.after_s)

    def _heal(self, places: Sequence[str], result: Result) -> None:
        """Undo the fault at each place, also when it fails at another one."""

        def back() -> None:
            if result.drill.refuses and "fault" in result.marks:
                result.marks.setdefault("back", time.time())

        with ExitStack() as stack:
            for place in reversed(places):
                stack.callback(back)
                stack.callback(self.scene.heal, place)
        if "fault" in result.marks:
            result.marks["heal"] = time.time()

    def _require_refusal(self, load: Load, injected: Injected, result: Result) -> None:
        """Require that nothing was stored while the fault was there, and that the site says why."""
        since = (injected.whole_at or injected.at) + _GRACE_S
        stored = sum(at > since for at in load.acknowledged())
        if stored:
            result.reasons.append(f"{stored} images were acknowledged while too few nodes were there for two copies.")
        result.refusal = self.scene.refusal()
        if not result.refusal:
            result.reasons.append("Status or health said that the next image would be stored.")

    def _hold(self, drill: Drill, load: Load, injected: Injected, result: Result) -> None:
        """Wait while the fault is there; end early where patients depend on the site and nothing is stored."""
        self.on_step(f"{injected.node}: {injected.proof}")
        while time.time() < injected.at + drill.hold_s:
            time.sleep(self.limits.every_s)
            if not self.stops:
                continue
            last = next((at for at in reversed(load.acknowledged()) if at > injected.at), injected.at)
            if time.time() - last > max(drill.deadline_s, _GRACE_S):
                result.reasons.append(f"Stopped: nothing was stored for more than {drill.deadline_s} s.")
                return

    def _settle(self, result: Result) -> None:
        """Wait until the other site has all images, and compare both."""
        self.on_step("waiting until both sites have the same images")
        if left := self._left(self.scene.behind, self.limits.equal_s):
            reason = f"The other site did not have the same images {self.limits.equal_s:.0f} s after the load"
            result.reasons.append(f"{reason}: {'; '.join(left)}.")
        else:
            result.marks["equal"] = time.time()

    def _left(self, look: Callable[[], list[str]], limit_s: float) -> list[str]:
        """Wait until nothing is wrong; return what still is when the time is over."""
        deadline = time.time() + limit_s
        while problems := look():
            if time.time() > deadline:
                return problems
            time.sleep(self.limits.every_s)
        return []

    def _measure(self, result: Result, load: Load, ended: float) -> None:
        times = [at for at in load.acknowledged() if at >= result.at]
        result.stored = per_second(times, result.at, ended)
        result.failures = [failure for failure in load.failures() if failure[0] <= ended]
        result.repeated = load.repeated()
        if (fault := result.marks.get("fault")) is None:
            return
        result.queries, result.reads = load.queries(fault, ended), load.reads(fault, ended)
        since = result.marks.get("back", fault)
        marks = [since, *(at for at in times if since < at <= ended), ended]
        begin, end = _longest(marks)
        usual = _longest([result.at, *(at for at in times if at <= fault)])
        if end - begin > max(_GRACE_S, 2 * (usual[1] - usual[0])):
            result.outage_s = end - begin
            result.marks["recovery"] = end
        if detected := next((at for at, _ in result.failures if at >= fault), None):
            result.marks["detection"] = detected

    @staticmethod
    def _void(result: Result, reason: str) -> None:
        result.void = True
        result.reasons.append(f"Void: {reason}")

    @staticmethod
    def _judge(result: Result) -> None:
        kept = result.kept
        if not kept.acknowledged and not result.void:
            result.void = True
            result.reasons.append("Void: no image was acknowledged.")
        for count, what in (
            (kept.lost, "lost"),
            (kept.corrupted, "corrupted"),
            (kept.duplicated, "duplicated"),
            (kept.unprotected, "without a second copy or a lock in the archive"),
        ):
            if count:
                result.reasons.append(f"{count} images are {what}.")
        if result.outage_s > result.drill.deadline_s:
            result.reasons.append(
                f"For {result.outage_s:.1f} s no store succeeded; the deadline is {result.drill.deadline_s} s."
            )


def per_second(times: Sequence[float], since: float, until: float) -> list[int]:
    """Count the moments in each second between two moments."""
    counts = [0] * (int(until - since) + 1)
    for at in times:
        if since <= at <= until:
            counts[int(at - since)] += 1
    return counts


def _longest(times: Sequence[float]) -> tuple[float, float]:
    """Return begin and end of the longest time between two moments."""
    return max(itertools.pairwise(times), key=lambda gap: gap[1] - gap[0], default=(0, 0))
