"""The site on which a drill happens: what is wrong with it, and how a fault is injected, proved and undone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hapacs import interruption, playbook, targets
from hapacs.drills import subjects
from hapacs.drills.model import Drill, Injected, OnNode, PowerOff, Restart, Switchover, UnprovedError
from hapacs.errors import HapacsError, RefusedError
from hapacs.site.access import Node, NodeError, Site
from hapacs.site.collect import collect
from hapacs.site.problems import blocking_problems
from hapacs.site.running import RunningSite

_PROGRAM = "/usr/local/lib/hapacs/hapacs-drill"
_LEASE_MARGIN_S = 60
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


class Scene(Protocol):
    """What a drill needs of a site."""

    def problems(self) -> list[str]:
        """Return what is wrong with the site; a drill begins and ends with nothing."""
        ...

    def subject(self, drill: Drill) -> str:
        """Return the node whose power the drill cuts; empty for other faults."""
        ...

    def inject(self, drill: Drill, node: str, image_bytes: bytes) -> Injected:
        """Inject the fault, and return when it has taken effect.

        Parameters
        ----------
        node
            What `subject` returned.
        image_bytes
            Bytes that only one image has, for a fault of an image.

        Raises
        ------
        UnprovedError
            When it was not injected, or took no effect.
        RefusedError
            When the nodes refuse drills, or the site is not whole.
        """
        ...

    def heal(self, node: str) -> None:
        """Undo the fault; change nothing when there is none."""
        ...


@dataclass(frozen=True)
class SiteScene:
    """A site that is up."""

    site: Site
    on_step: Callable[[str], None]

    def problems(self) -> list[str]:
        """Return what would forbid an operation too."""
        return list(map(str, blocking_problems(collect(self.site))))

    def subject(self, drill: Drill) -> str:
        """Choose the node by the roles that the nodes have now."""
        if not isinstance(drill.fault, PowerOff):
            return ""
        found = subjects.nodes(collect(self.site), drill.fault.subject)
        if not found:
            raise RefusedError(f"No node of the site is {drill.fault.subject} now.", "`hapacs status` shows the roles.")
        return found[0]

    def inject(self, drill: Drill, node: str, image_bytes: bytes) -> Injected:
        """Inject the fault by its playbook, by a switchover, or by the power switch."""
        match drill.fault:
            case OnNode():
                return self._on_node(drill, image_bytes)
            case PowerOff():
                return self._power_off(node)
            case Switchover(what):
                return self._planned("switchover", {"what": what}, _HANDS_OVER[what], _LEADS[what])
            case Restart(service):
                return self._planned("restart", {"service": service}, _RESTARTS, _LEADS["storing"])

    def heal(self, node: str) -> None:
        """Switch the node on, and undo what is on any node."""
        if node:
            power = targets.power(self.site.deployment)
            if not power.is_on(node):
                power.on(node)
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

    def _on_node(self, drill: Drill, image_bytes: bytes) -> Injected:
        variables = {"drill_lease_s": round(drill.hold_s + _LEASE_MARGIN_S), "drill_bytes": image_bytes.hex()}
        try:
            outcome = self._play(drill.playbook, variables | {"site": self.site.name})
        except playbook.PlaybookError as error:
            raise UnprovedError(error.message, error.hint) from error
        document = json.loads(outcome.said[-1])
        return Injected(document["node"], document["at"], document["proof"])

    def _power_off(self, node: str) -> Injected:
        at = time.time()
        power = targets.power(self.site.deployment)
        power.off(node)
        return Injected(node, at, f"the machine of {node} does not run")

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
