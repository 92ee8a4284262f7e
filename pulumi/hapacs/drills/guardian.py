"""Undoes the fault of a drill when its command is gone: after Ctrl-C, a lost terminal or kill -9.

It runs as a process of its own that no signal to the command reaches. On a dead controller it is dead too; then the
lease on the node undoes the fault.

    python -m hapacs.drills.guardian DEPLOYMENT FILE PID
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hapacs.deployment import Deployment
from hapacs.interruption import Process

_POLL_S = 0.5


@contextmanager
def watching(deployment: Deployment, directory: Path, places: Sequence[str]) -> Iterator[None]:
    """Undo the fault if this process ends before the block does.

    Parameters
    ----------
    directory
        Of the drill's files.
    places
        The nodes whose power is cut, and an empty text for another fault.
    """
    file = directory / "fault-is-there"
    file.write_text("\n".join(places), encoding="utf-8")
    log = directory / "guardian.log"
    # `setsid --fork` gives it a parent and a session of its own.
    subprocess.run(
        ["setsid", "--fork", "sh", "-c", 'exec "$0" "$@" >"$LOG" 2>&1 </dev/null', sys.executable, "-m",
         "hapacs.drills.guardian", deployment.name, str(file), str(os.getpid())],
        env=deployment.environment() | {"LOG": str(log)}, check=True,
    )  # fmt: skip
    yield
    # After an error the fault may still be there: the guardian undoes it when this process ends.
    file.unlink()


def guard(file: Path, pid: int, heal: Callable[[str], None]) -> bool:
    """Wait until the file or the process is gone; return whether the fault had to be undone.

    Parameters
    ----------
    heal
        Undoes it at one place: a node whose power was cut, or an empty text.
    """
    watched = Process.read(pid)
    while watched is not None and watched.lives():
        if not file.exists():
            return False
        time.sleep(_POLL_S)
    if not file.exists():
        return False
    for place in file.read_text(encoding="utf-8").split("\n"):
        heal(place)
    file.unlink()
    return True


if __name__ == "__main__":
    from hapacs.drills.scene import SiteScene
    from hapacs.site.access import sites

    name, path, number = sys.argv[1:]
    guard(Path(path), int(number), SiteScene(sites(Deployment.load(name))[0], print).heal)
