"""Processor time of the services of a node; sent to the node and run as root by Debian's Python.

Prints a JSON object: ``kernel`` (nodes that are containers share one), its ``processors`` and their ``busy_s``,
``units``, the seconds of each service, and ``memory``, the bytes of each service without what it has read from files.
Data is flushed to disk first, so that it is charged to its writer.
"""

import json
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup/system.slice")
STATISTICS = Path("/proc/stat")
KERNEL = Path("/proc/sys/kernel/random/boot_id")


def units(directory: Path) -> dict[str, float]:
    """Return the seconds that each service has used since it was started (cgroup v2, cpu.stat)."""
    return {unit: used / 1e6 for unit, used in _statistic(directory, "cpu.stat", "usage_usec").items()}


def memory(directory: Path) -> dict[str, int]:
    """Return the bytes that each service has allocated (cgroup v2, memory.stat)."""
    return _statistic(directory, "memory.stat", "anon")


def _statistic(directory: Path, file: str, name: str) -> dict[str, int]:
    found = {}
    for path in directory.glob(f"*.service/{file}"):
        values = dict(line.split() for line in path.read_text(encoding="utf-8").splitlines())
        found[path.parent.name.removesuffix(".service")] = int(values[name])
    return found


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
                "memory": memory(CGROUPS),
            }
        )
    )


if __name__ == "__main__":
    main()
