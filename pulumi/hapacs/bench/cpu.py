"""Processor time by component between two moments, over all nodes of a site."""

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
        Time of all processes, by kernel. Nodes that are containers of one machine share a kernel.
    units
        Time of each service, over all nodes.
    """

    busy: Mapping[str, float]
    units: Mapping[str, float]


class Work(Protocol):
    """Result of some work, with the processor time of the client."""

    @property
    def cpu_s(self) -> float:
        """Processor seconds of the client."""


@dataclass
class Used:
    """Sum of the processor time of several pieces of work.

    Attributes
    ----------
    seconds
        Seconds by component.
    """

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, used: Mapping[str, float]) -> None:
        """Add the time of one piece."""
        for component, seconds in used.items():
            self.seconds[component] = self.seconds.get(component, 0) + seconds

    def per_instance_ms(self, instances: int) -> dict[str, float]:
        """Return milliseconds for an instance by component, the largest first, without those that round to 0."""
        shares = {name: round(1000 * seconds / instances, 2) for name, seconds in self.seconds.items()}
        return {name: share for name, share in sorted(shares.items(), key=lambda item: -item[1]) if share}


def measured[T: Work](site: Site, work: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """Do some work; return its result and its processor seconds by component."""
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
    """Add up the answers of the nodes."""
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
        Seconds of the client; it runs on the controller, which in the lab is the same machine.

    Returns
    -------
    dict
        Seconds by service, of the ``client``, and of all others: kernel threads that write to disks, SSH, and other
        processes. A service that restarted meanwhile counts from its restart.
    """
    used = {unit: after.units[unit] - before.units.get(unit, 0) for unit in after.units}
    used = {unit: seconds if seconds >= 0 else after.units[unit] for unit, seconds in used.items()}
    used[CLIENT] = client_s
    busy = sum(after.busy[kernel] - before.busy[kernel] for kernel in after.busy)
    used[REST] = max(0.0, busy - sum(used.values()))
    return dict(sorted(used.items(), key=lambda item: -item[1]))
