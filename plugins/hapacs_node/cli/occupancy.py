"""Commands for usage and eviction of a DAS."""

import time
from typing import Any

from rich.table import Table

from hapacs_node.errors import ConfigurationError, DasError
from hapacs_node.node import Node
from hapacs_node.storage.eviction import Eviction, Outcome
from hapacs_node.storage.files import USE_GRAIN_S
from hapacs_node.storage.shelves import COUNT

_DAY_S = 86400


def report(node: Node) -> dict[str, Any]:
    """Describe a node's DAS, fit for JSON.

    Returns
    -------
    dict
        ``ok`` means: the node stores, and enough copies can be evicted when eviction is due.
    """
    eviction = _eviction(node)
    limits, das = eviction.limits, node.settings.das
    size, free, needed = eviction.shelves.size_bytes(), node.das.free_bytes(), eviction.needed_bytes()
    ages = eviction.ages()
    may_go = sum(ages.by_hour.values())
    oldest = min(ages.by_hour, default=None)
    return {
        "ok": free >= das.minimum_free_bytes and may_go >= needed,
        "size_bytes": size,
        "free_bytes": free,
        "evict_below_free_bytes": limits.below_free_bytes,
        "evict_until_free_bytes": limits.until_free_bytes,
        "minimum_free_bytes": das.minimum_free_bytes,
        "minimum_age_s": limits.minimum_age_s,
        "needed_bytes": needed,
        "may_go_bytes": may_go,
        "may_go_files": ages.files,
        "too_young_bytes": ages.young_bytes,
        "oldest_use_s": None if oldest is None else round(time.time() - oldest * USE_GRAIN_S),
        "looked_at_fraction": ages.shelves / COUNT,
    }


def table(found: dict[str, Any]) -> Table:
    """Make a table of a report."""
    shown = Table("", "", "", box=None, show_header=False)
    size = found["size_bytes"]

    def row(name: str, count: int, note: str = "") -> None:
        shown.add_row(name, f"{count / 1e9:,.1f} GB", f"{count / size:.0%} {note}")

    row("size", size)
    row("free", found["free_bytes"])
    row("eviction starts below, free", found["evict_below_free_bytes"])
    row("eviction ends at, free", found["evict_until_free_bytes"])
    row("stores are refused below, free", found["minimum_free_bytes"])
    guess = "" if found["looked_at_fraction"] == 1 else "(estimated)"
    row("can be evicted", found["may_go_bytes"], f"in {found['may_go_files']} files {guess}")
    row("below the minimum age", found["too_young_bytes"], guess)
    row("to be evicted now", found["needed_bytes"])
    if found["oldest_use_s"] is not None:
        shown.add_row("least recently used", f"{found['oldest_use_s'] / _DAY_S:,.1f} days ago", "")
    return shown


def make_room(node: Node, *, until_free: int | None, dry_run: bool) -> Outcome:
    """Evict until the given number of bytes is free, or as the watermarks demand.

    Raises
    ------
    NodeError
        When another process of the node is evicting, or a part of the site doesn't answer.
    """
    eviction = _eviction(node)
    wanted = eviction.needed_bytes() if until_free is None else max(0, until_free - node.das.free_bytes())
    outcome = eviction.run(wanted, dry_run=dry_run) if wanted else Outcome(0)
    if outcome is None:
        raise DasError(
            "another process of this node is evicting: wait until it ends (`journalctl HAPACS_EVENT=eviction_finished`)"
        )
    return outcome


def _eviction(node: Node) -> Eviction:
    if node.eviction is None:
        raise ConfigurationError("das.evict is not configured: nothing is evicted from this DAS")
    return node.eviction
