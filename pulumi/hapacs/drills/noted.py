"""Leaves the last run of each drill on the monitoring nodes of a site: there it becomes metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from hapacs import interruption
from hapacs.site.access import NodeError, Site

_SCRIPT = Path(__file__).parent / "note_on_node.py"
_TIMEOUT_S = 30


def last(runs: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the last run of each drill that proved something, by the drill's name.

    Parameters
    ----------
    runs
        Reports of drills (`hapacs.drills.report`), in any order.
    """
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        at = datetime.fromisoformat(run["at"]).timestamp() + len(run["stored_per_s"])
        if not run["void"] and at > found.get(run["name"], {"ended": 0})["ended"]:
            found[run["name"]] = {name: run[name] for name in ("ok", "outage_s", "deadline_s")} | {"ended": at}
    return found


def note(site: Site, runs: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Write the last runs to each monitoring node; yield a sentence for each one that can't be reached.

    A node keeps what is newer, so several controllers may write. A node that was off gets all with the next run.
    """
    known = last(runs)

    def write(node: Any) -> str:
        try:
            site.run_script(node, _SCRIPT, known, root=True, timeout_s=_TIMEOUT_S)
        except NodeError as error:
            return f"{node.name} does not know of the drills' last runs: {error.message}"
        return ""

    nodes = site.members("monitoring")
    with interruption.Workers(max_workers=max(len(nodes), 1)) as pool:
        yield from filter(None, pool.map(write, nodes))
