"""Processor time by component and by node between two moments, over all nodes of a site."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        Time of each service of each node.
    """

    busy: Mapping[str, float]
    units: Mapping[str, Mapping[str, float]]


class Work(Protocol):
    """Result of some work, with the processor time of the client."""

    @property
    def cpu_s(self) -> float:
        """Processor seconds of the client."""


@dataclass
class Used:
    """Processor time of one or several pieces of work.

    Attributes
    ----------
    components
        Seconds by service over all nodes, of the ``client``, and of all others: kernel threads that write to disks,
        SSH, and other processes. A service that restarted meanwhile counts from its restart.
    nodes
        Seconds of the services by node. The others can't be told apart where nodes share a kernel.
    """

    components: dict[str, float] = field(default_factory=dict)
    nodes: dict[str, float] = field(default_factory=dict)

    def add(self, used: Used) -> None:
        """Add the time of another piece."""
        for mine, theirs in ((self.components, used.components), (self.nodes, used.nodes)):
            for name, seconds in theirs.items():
                mine[name] = mine.get(name, 0) + seconds

    def document(self, instances: int) -> dict[str, dict[str, float]]:
        """Return milliseconds for an instance, the largest first, without those that round to 0."""
        return {
            "cpu_ms_per_instance": _shares(self.components, instances),
            "cpu_ms_per_instance_by_node": _shares(self.nodes, instances),
        }


def _shares(seconds: Mapping[str, float], instances: int) -> dict[str, float]:
    shares = {name: round(1000 * one / instances, 2) for name, one in seconds.items()}
    return {name: share for name, share in sorted(shares.items(), key=lambda item: -item[1]) if share}


def measured[T: Work](site: Site, work: Callable[[], T]) -> tuple[T, Used]:
    """Do some work; return its result and its processor time."""
    before = take(site)
    outcome = work()
    return outcome, between(before, take(site), outcome.cpu_s)


def take(site: Site) -> Snapshot:
    """Ask every node at once."""
    return combine(answers(site))


def answers(site: Site) -> dict[str, dict[str, Any]]:
    """Return what `node_cpu` prints on each node."""
    script = Path(node_cpu.__file__)
    with ThreadPoolExecutor(max_workers=len(site.nodes)) as pool:
        found = pool.map(lambda node: site.run_script(node, script, {}, root=True), site.nodes.values())
        return dict(zip(site.nodes, found, strict=True))


def combine(answers: Mapping[str, Mapping[str, Any]]) -> Snapshot:
    """Put the answers of the nodes together; a kernel that nodes share counts once."""
    busy = {answer["kernel"]: answer["busy_s"] for answer in answers.values()}
    return Snapshot(busy, {node: answer["units"] for node, answer in answers.items()})


def between(before: Snapshot, after: Snapshot, client_s: float) -> Used:
    """Return the time between two moments.

    Parameters
    ----------
    client_s
        Seconds of the client; it runs on the controller, which in the lab is the same machine.
    """
    used = Used()
    for node, units in after.units.items():
        for unit, until in units.items():
            seconds = until - before.units.get(node, {}).get(unit, 0)
            seconds = seconds if seconds >= 0 else until
            used.add(Used({unit: seconds}, {node: seconds}))
    used.components[CLIENT] = client_s
    busy = sum(after.busy[kernel] - before.busy.get(kernel, 0) for kernel in after.busy)
    used.components[REST] = max(0.0, busy - sum(used.components.values()))
    return used
