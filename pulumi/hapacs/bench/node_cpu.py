"""Processor time of the services of a node; sent to the node and run as root by Debian's Python.

Prints a JSON object: ``kernel`` (nodes that are containers share one), its ``processors`` and their ``busy_s``,
``units``, the seconds of each service, and ``memory``, the bytes of each service without what it has read from files.
Data is flushed to disk first, so that it is charged to its writer.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup/system.slice")
PROCESSES = Path("/proc")
STATISTICS = Path("/proc/stat")
KERNEL = Path("/proc/sys/kernel/random/boot_id")


def units(directory: Path) -> dict[str, float]:
    """Return the seconds that each service has used since it was started (cgroup v2, cpu.stat)."""
    found = {}
    for path in directory.glob("*.service/cpu.stat"):
        values = dict(line.split() for line in path.read_text(encoding="utf-8").splitlines())
        found[path.parent.name.removesuffix(".service")] = int(values["usage_usec"]) / 1e6
    return found


def memory(directory: Path, processes: Path) -> dict[str, int]:
    """Return the bytes that the processes of each service have allocated, shared ones in parts (proc(5), Pss_Anon).

    The cgroup's own account is not there on every machine: a container may have no controller for memory.
    """
    found = {}
    for unit in directory.glob("*.service"):
        pids = [pid for listed in unit.rglob("cgroup.procs") for pid in listed.read_text(encoding="utf-8").split()]
        found[unit.name.removesuffix(".service")] = sum(_allocated(processes / pid / "smaps_rollup") for pid in pids)
    return found


def _allocated(rollup: Path) -> int:
    # A process may end meanwhile.
    with suppress(OSError):
        for line in rollup.read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss_Anon:"):
                return int(line.split()[1]) * 1024
    return 0


def busy_s(statistics: str, ticks_per_s: int) -> float:
    """Return the busy seconds of all processors since boot: all but idle and iowait (proc(5))."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, statistics.splitlines()[0].split()[1:])
    return (user + nice + system + irq + softirq) / ticks_per_s


def main() -> None:
    """Print the answer."""
    os.sync()
    print(  # noqa: T201 - the answer
        json.dumps(
            {
                "kernel": KERNEL.read_text(encoding="utf-8").strip(),
                "processors": os.cpu_count(),
                "busy_s": busy_s(STATISTICS.read_text(encoding="utf-8"), os.sysconf("SC_CLK_TCK")),
                "units": units(CGROUPS),
                "memory": memory(CGROUPS, PROCESSES),
            }
        )
    )


if __name__ == "__main__":
    main()
