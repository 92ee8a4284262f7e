"""Who took how much of the processors between two moments, over all nodes of a site."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hapacs.bench import node_cpu
from hapacs.site.access import Site

REST = "kernel and others"
CLIENT = "client"


@dataclass(frozen=True)
class Snapshot:
    """Processor seconds until one moment.

    Attributes
    ----------
    busy
        By kernel: everything. Nodes that are containers of one machine share theirs.
    units
        By service, over all nodes.
    """

    busy: Mapping[str, float]
    units: Mapping[str, float]


class Work(Protocol):
    """What came of some work, with what the client itself took for it."""

    @property
    def cpu_s(self) -> float:
        """Processor seconds of the client."""


@dataclass
class Used:
    """What some pieces of work took, added up.

    Attributes
    ----------
    seconds
        By component.
    """

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, used: Mapping[str, float]) -> None:
        """Add what one piece took."""
        for component, seconds in used.items():
            self.seconds[component] = self.seconds.get(component, 0) + seconds

    def per_instance_ms(self, instances: int) -> dict[str, float]:
        """Return milliseconds for an instance by component, the largest first, without what rounds to nothing."""
        shares = {name: round(1000 * seconds / instances, 2) for name, seconds in self.seconds.items()}
        return {name: share for name, share in sorted(shares.items(), key=lambda item: -item[1]) if share}


def measured[T: Work](site: Site, work: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """Do something, and tell what it took of the processors, by component."""
    before = take(site)
    outcome = work()
    return outcome, between(before, take(site), outcome.cpu_s)


def take(site: Site) -> Snapshot:
    """Ask every node at once."""
    nodes = list(site.nodes.values())
    script = Path(node_cpu.__file__)
    with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        return combine(list(pool.map(lambda node: site.run_script(node, script, {}, root=True), nodes)))


def combine(answers: Sequence[Mapping[str, Any]]) -> Snapshot:
    """Add up what the nodes said of themselves."""
    units: dict[str, float] = {}
    for answer in answers:
        for unit, used in answer["units"].items():
            units[unit] = units.get(unit, 0) + used
    return Snapshot({answer["kernel"]: answer["busy_s"] for answer in answers}, units)


def between(before: Snapshot, after: Snapshot, client_s: float) -> dict[str, float]:
    """Return the seconds that each component took, the largest first.

    Parameters
    ----------
    client_s
        What the client took; it runs on the controller, which in the lab is the same machine.

    Returns
    -------
    dict
        By service; ``client``; and what no service is charged with: threads of the kernel that write to disks, SSH, and
        whatever else runs. A service that was started anew counts from its start.
    """
    used = {unit: after.units[unit] - before.units.get(unit, 0) for unit in after.units}
    used = {unit: seconds if seconds >= 0 else after.units[unit] for unit, seconds in used.items()}
    used[CLIENT] = client_s
    busy = sum(after.busy[kernel] - before.busy[kernel] for kernel in after.busy)
    used[REST] = max(0.0, busy - sum(used.values()))
    return dict(sorted(used.items(), key=lambda item: -item[1]))
