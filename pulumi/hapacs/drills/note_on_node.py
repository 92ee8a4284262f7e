"""Keeps the last run of each drill on a node; sent there and run as root by Debian's Python.

Takes a JSON object: the runs by the drill's name, with ``ended`` in seconds since 1970. Of two runs of a drill the
later one stays. Prints the number of drills that are known.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

KEPT = Path("/var/lib/hapacs/drills.json")


def merged(known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the later run of each drill."""
    both = dict(known)
    for name, run in new.items():
        if name not in both or run["ended"] >= both[name]["ended"]:
            both[name] = run
    return both


def keep(path: Path, new: dict[str, Any]) -> int:
    """Merge runs into a file, which is replaced as a whole; return how many drills it has."""
    try:
        known = json.loads(path.read_bytes())
        found = merged(known, new)
    except (OSError, ValueError, KeyError, TypeError):
        # Not there yet, or not ours any more: what the controller knows is as good.
        found = new
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(".new")
    with written.open("w", encoding="utf-8") as file:
        json.dump(found, file)
        file.flush()
        os.fsync(file.fileno())
    written.chmod(0o644)
    written.replace(path)
    return len(found)


if __name__ == "__main__":
    json.dump(keep(KEPT, json.loads(sys.argv[1])), sys.stdout)
