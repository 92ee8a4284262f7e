"""The site on which a drill happens: what is wrong with it, and how a fault is injected, proved and undone."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hapacs import interruption, playbook, targets
from hapacs.drills import subjects
from hapacs.drills.model import (
    Drill,
    InARow,
    Injected,
    Lacking,
    OnNode,
    OtherSite,
    PowerOff,
    Prepared,
    Restart,
    Switchover,
    UnprovedError,
)
from hapacs.errors import HapacsError, RefusedError
from hapacs.site import second_site
from hapacs.site.access import Node, NodeError, Site, sites
from hapacs.site.collect import collect
from hapacs.site.problems import blocking_problems
from hapacs.site.running import RunningSite
from hapacs.site.storing import next_store

_PROGRAM = "/usr/local/lib/hapacs/hapacs-drill"
_STORING = "orthanc-store"
_LEASE_MARGIN_S = 60
_LOOK_S = 20.0
_INJECTION_S = 60
"""Time for a node to begin with a fault, and to inject it."""
_HANDS_OVER = {
    "database": "Hand the database over",
    "storing": "Hand storing over",
    "address": "Hand the virtual address over",
}
_RESTARTS = "Hand over what depends on"
_LEADS: dict[str, Callable[[RunningSite], list[str]]] = {
    "database": lambda running: running.database_leaders,
    "storing": lambda running: running.writers,
    "address": lambda running: running.holders,
}
_OFFICES = {"storing": "storing", "entry": "address"}
"""The office that a drill hits, by what decides its deadline."""


def _lease_s(drill: Drill) -> int:
    return round(drill.hold_s + _LEASE_MARGIN_S)


class Scene(Protocol):
    """What a drill needs of a site."""

    def problems(self) -> list[str]:
        """Return what is wrong with the site; a drill begins and ends with nothing."""
        ...

    def prepare(self, drill: Drill, image_bytes: bytes) -> Prepared:
        """Choose what the fault hits, and do all that takes time: the load has not begun.

        Parameters
        ----------
        image_bytes
            Bytes that only one image has, for a fault of an image.

        Raises
        ------
        UnprovedError
            When it could not be prepared.
        RefusedError
            When the nodes refuse drills, or the site is not whole.
        """
        ...

    def inject(self, drill: Drill, prepared: Prepared) -> Injected:
        """Inject the fault, and return when it has taken effect.

        Raises
        ------
        UnprovedError
            When it was not injected, or took no effect.
        """
        ...

    def refusal(self) -> str:
        """Return why the site would refuse the next image; empty when its status or a node says that it would not."""
        ...

    def heal(self, place: str) -> None:
        """Undo the fault at a place; change nothing when there is none."""
        ...

    def lacking(self) -> Lacking:
        """Return what the other site lacks now.

        Raises
        ------
        HapacsError
            When no node says it.
        """
        ...

    def behind(self) -> list[str]:
        """Return what is wrong with the other site, or what it lacks; nothing once both sites are equal by digest."""
        ...


@dataclass(frozen=True)
class SiteScene:
    """A site that is up."""

    site: Site
    on_step: Callable[[str], None]

    def problems(self) -> list[str]:
        """Return what would forbid an operation too."""
        return list(map(str, blocking_problems(collect(self.site))))

    def prepare(self, drill: Drill, image_bytes: bytes) -> Prepared:
        """Choose the nodes by the roles that they have now; the playbook of a fault prepares its node."""
        if drill.apart:
            self._set_apart(_OFFICES[drill.hits])
        match drill.fault:
            case OnNode():
                said = self._frame(drill.playbook, {"drill_inject": False, "drill_bytes": image_bytes.hex()})
                return Prepared(("",), (said["node"],), said["fault"], said["proof_s"])
            case PowerOff(subject, count):
                return Prepared(tuple(self._nodes(subject, count)))
            case OtherSite("off"):
                return Prepared(tuple(self._other().nodes))
            case OtherSite("cut"):
                self._other()
                # Each node says the same fault.
                said = self._frame(drill.playbook, {"drill_inject": False})
                return Prepared(("",), tuple(self.site.nodes), said["fault"], said["proof_s"])
            case InARow(PowerOff(subject, count)):
                return Prepared((*self._nodes(subject, count), ""))
        return Prepared()

    def _set_apart(self, office: str) -> None:
        """Move an office away from a node that leads database or archive."""
        running = collect(self.site)
        leads = {*running.database_leaders, *running.archive_leaders}
        if leads.isdisjoint(_LEADS[office](running)):
            return
        able = running.able_holders(*leads) if office == "address" else running.able_writers(*leads)
        if not able:
            raise RefusedError(
                "Each node that could be hit leads database or archive, and for its loss another deadline holds.",
                "The archive's lead follows the database's a minute after the last store: run the drill again then.",
            )
        try:
            self._play("switchover", {"what": office, "node": able[0], "site": self.site.name})
        except playbook.PlaybookError as error:
            raise UnprovedError(error.message, error.hint) from error

    def _nodes(self, subject: str, count: int) -> list[str]:
        found = subjects.nodes(collect(self.site), subject)
        if len(found) < count:
            raise RefusedError(
                f"The site has {len(found)} of the {count} nodes that are {subject}.",
                "`hapacs status` shows the roles.",
            )
        return found[:count]

    def refusal(self) -> str:
        """Return what `hapacs status` and the storing services that are left say."""
        running = collect(self.site)
        health = [facts.health[_STORING] for facts in running.nodes.values() if _STORING in facts.health]
        said = next_store(running).refusal
        return "; ".join(dict.fromkeys([said, *health])) if said and all(health) else ""

    def inject(self, drill: Drill, prepared: Prepared) -> Injected:
        """Inject the fault by the node's program, by an operation, or by the power switch."""
        match drill.fault:
            case OnNode():
                return self._on_nodes(prepared, _lease_s(drill))
            case PowerOff():
                return self._power_off(prepared.places)
            case OtherSite(how):
                off = how == "off"
                return self._power_off(prepared.places) if off else self._on_nodes(prepared, _lease_s(drill))
            case InARow(_, name, after_s):
                first = self._power_off([place for place in prepared.places if place])
                time.sleep(after_s)
                # By its playbook as a whole: only now it is known which nodes are left.
                second = self._frame(name, {"drill_verb": "any", "drill_lease_s": _lease_s(drill)})
                return Injected(f"{first.node}, {second['node']}", first.at, f"{first.proof}; {second['proof']}")
            case Switchover(what):
                return self._planned("switchover", {"what": what}, _HANDS_OVER[what], _LEADS[what])
            case Restart(service):
                return self._planned("restart", {"service": service}, _RESTARTS, _LEADS["storing"])

    def lacking(self) -> Lacking:
        """Return what the site's own outbox has for the other one."""
        lag = second_site.lag(self.site, _LOOK_S)
        if lag is None or "unknown" in lag:
            raise HapacsError(
                f"{self.site.name} does not say what the other site lacks.", "`hapacs dr status` asks both."
            )
        images = second_site.lacking(lag) + int(lag["removals"])
        return Lacking(images, int(lag["bytes"]) + int(lag["past_bytes"]), float(lag["rpo_s"]))

    def behind(self) -> list[str]:
        """Return problems of the other site, images that it lacks, and then what a comparison of both finds."""
        other = self._other()
        if problems := blocking_problems(collect(other)):
            return [f"{other.name}: {one}" for one in problems]
        if images := self.lacking().images:
            return [f"{other.name} lacks {images:,} images"]
        report = second_site.compare(self.site, "")
        counts = report["counts"].items()
        return [] if report["equal"] else [f"{kind}: {number:,}" for kind, number in counts if number]

    def _other(self) -> Site:
        """Return the other site of the deployment."""
        others = [one for one in sites(self.site.deployment) if one.name != self.site.name]
        if not others or self.site.contract["routing"].get("second_site") is None:
            raise RefusedError(
                f"{self.site.name} has no other site that gets its images.", "docs/operations/second-site.md"
            )
        return others[0]

    def heal(self, place: str) -> None:
        """Switch the node on, or undo what is on any node."""
        if place:
            power = targets.power(self.site.deployment)
            if not power.is_on(place):
                power.on(place)
            return
        with interruption.Workers(max_workers=8) as pool:
            list(pool.map(self._undo, self.site.nodes.values()))

    def _undo(self, node: Node) -> None:
        """Undo what is on a node; a node that is busy with a fault answers late."""
        deadline = time.monotonic() + _LEASE_MARGIN_S
        while True:
            try:
                self.site.run(node, [f"if test -x {_PROGRAM}; then sudo {_PROGRAM} heal; fi"], "")
            except NodeError as error:
                if time.monotonic() > deadline:
                    raise HapacsError(
                        f"A fault on {node.name} may still be there: {error.reason}.",
                        "The node undoes it by itself when its lease ends; docs/operations/drills/README.md says more.",
                    ) from error
                time.sleep(1)
            else:
                return

    def _frame(self, name: str, variables: dict[str, object]) -> dict[str, Any]:
        """Run the playbook of a fault, and return what it says at its end."""
        try:
            outcome = self._play(name, variables | {"site": self.site.name})
        except playbook.PlaybookError as error:
            raise UnprovedError(error.message, error.hint) from error
        said: dict[str, Any] = json.loads(outcome.said[-1])
        return said

    def _on_nodes(self, prepared: Prepared, lease_s: int) -> Injected:
        """Inject on all nodes at the same time."""
        with interruption.Workers(max_workers=len(prepared.nodes)) as pool:
            found = list(pool.map(lambda name: self._on_node(name, prepared, lease_s), prepared.nodes))
        begun, proofs = [one.at for one in found], [one.proof for one in found]
        return Injected(", ".join(prepared.nodes), min(begun), "; ".join(proofs), max(begun))

    def _on_node(self, name: str, prepared: Prepared, lease_s: int) -> Injected:
        """Inject and prove in one call over SSH: under load a playbook takes most of a minute for it."""
        fault = shlex.quote(json.dumps(prepared.fault))
        command = f"sudo {_PROGRAM} inject {lease_s} {fault} && sudo {_PROGRAM} prove {prepared.proof_s:g}"
        node, timeout_s = self.site.nodes[name], _INJECTION_S + prepared.proof_s
        try:
            printed = self.site.run(node, [command], "", timeout_s)
        except NodeError as error:
            reason = f"the fault was not injected on {node.name}, or took no effect: {error.reason}"
            raise UnprovedError(reason, "The drill is void: run it again.") from error
        injected, proved = map(json.loads, printed.splitlines())
        return Injected(node.name, injected["at"], proved["proof"])

    def _power_off(self, nodes: Sequence[str]) -> Injected:
        at = time.time()
        power = targets.power(self.site.deployment)
        with interruption.Workers(max_workers=len(nodes)) as pool:
            list(pool.map(power.off, nodes))
        found = "; ".join(f"the machine of {node} does not run" for node in nodes)
        # On a busy machine seconds pass until the last one is off, and until then it keeps second copies.
        return Injected(", ".join(nodes), at, found, time.time())

    def _planned(
        self, name: str, variables: dict[str, object], begins: str, hit: Callable[[RunningSite], list[str]]
    ) -> Injected:
        """Run the playbook of an operation; the fault begins with its first task that changes the site."""
        begun: list[float] = []

        def note(task: str) -> None:
            self.on_step(task)
            if task.startswith(begins):
                begun.append(time.time())

        try:
            outcome = self._play(name, variables | {"site": self.site.name}, note)
        except playbook.PlaybookError as error:
            raise UnprovedError(error.message, error.hint) from error
        if not begun:
            raise UnprovedError(f"The playbook {name}.yml changed nothing.", "Its log says why.")
        return Injected(next(iter(hit(collect(self.site))), ""), begun[0], outcome.said[-1])

    def _play(
        self, name: str, variables: dict[str, object], on_task: Callable[[str], None] | None = None
    ) -> playbook.Outcome:
        deployment = self.site.deployment
        return playbook.run(
            name, inventory=deployment.directory, logs=deployment.logs, variables=variables,
            environment=deployment.environment(), on_task=on_task or self.on_step,
        )  # fmt: skip
