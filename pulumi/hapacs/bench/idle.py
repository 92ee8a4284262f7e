"""What the services of a deployment take while nobody stores or asks: processor time and memory, by role."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hapacs.bench import cpu
from hapacs.services import table
from hapacs.site.access import Site

MONITORING = frozenset({"prometheus", "alertmanager", "exporters", "probe"})
"""Roles that only watch."""
MOST_SHARE, MOST_MONITORING, MOST_MONITORING_BYTES = 0.10, 0.08, 600 << 20
"""Shares of all processors that an idle lab and its monitoring may take, and the memory of the latter."""
OTHERS = "kernel, others"
"""Also what else runs on a machine that nodes share with it."""
# What a timer starts has the timer's name.
_ROLES = {service.unit.removesuffix(".timer"): service.role for service in table.SERVICES}


def run(sites: Sequence[Site], seconds: float, on_step: Callable[[str], None]) -> dict[str, Any]:
    """Look at all nodes twice.

    Parameters
    ----------
    sites
        All sites of the deployment: they may share a machine.
    seconds
        Time between both.
    on_step
        Takes what is done now.

    Returns
    -------
    dict
        Fit for JSON. Shares are of all processors of the nodes, by role; bytes are those allocated, over all nodes.
    """
    on_step(f"waiting for {seconds:.0f} s, in which nothing should happen")
    began, before = time.monotonic(), _all(sites)
    time.sleep(seconds)
    after = _all(sites)
    return compared(before, after, time.monotonic() - began)


def compared(
    before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]], seconds: float
) -> dict[str, Any]:
    """Return what was used between two looks, by role, and whether it is within the limits."""
    used = cpu.between(cpu.combine(before), cpu.combine(after), 0)
    processors = sum({one["kernel"]: one["processors"] for one in after.values()}.values())
    shares: Counter[str] = Counter()
    for unit, busy_s in used.components.items():
        shares[_ROLES.get(unit, OTHERS)] += busy_s / seconds / processors
    memory: Counter[str] = Counter()
    for answer in after.values():
        for unit, size in answer["memory"].items():
            memory[_ROLES.get(unit, OTHERS)] += size
    watching = sum(shares[role] for role in MONITORING)
    watching_bytes = sum(memory[role] for role in MONITORING)
    return {
        "idle_s": seconds,
        "processors": processors,
        "share": sum(shares.values()),
        "services_share": sum(share for role, share in shares.items() if role != OTHERS),
        "shares": dict(shares.most_common()),
        "memory_bytes": dict(memory.most_common()),
        "monitoring": {"share": watching, "memory_bytes": watching_bytes},
        "within": {
            "share": sum(shares.values()) <= MOST_SHARE,
            "monitoring": watching <= MOST_MONITORING and watching_bytes <= MOST_MONITORING_BYTES,
        },
    }


def _all(sites: Iterable[Site]) -> dict[str, dict[str, Any]]:
    return {f"{site.name}/{node}": answer for site in sites for node, answer in cpu.answers(site).items()}
