"""Writes what only a node knows as metrics, for the node exporter's textfile collector; a timer starts it as root.

    python3 -m hapacs.site.node_metrics QUESTION DIRECTORY

``QUESTION`` holds what `hapacs.services.nodes.question` returns. The answers come from the functions that `hapacs
status` uses (`hapacs.site.node_facts`), so that both say the same. It runs with Debian's Python, which has the standard
library only. What can't be found is left out: a rule reports metrics that are gone.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from hapacs.site import node_facts

DAS = "/srv/das"
_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})?( .+)$")
_FAMILY = re.compile(r"^# (?:HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) ?(.*)$")
_DEVICE_STATISTICS = re.compile(r"^\[(?P<device>[^\]]+)\]\.(?P<kind>\w+)\s+(?P<count>\d+)$")

Sample = tuple[str, Mapping[str, str], float]
"""Name, labels and value."""

ABOUT = {
    "hapacs_facts_time_seconds": "When the facts of the node were collected",
    "hapacs_facts_duration_seconds": "How long it took to collect the facts",
    "hapacs_unit_active": "Whether a unit that has to be active is",
    "hapacs_unit_restarts_total": "How often systemd restarted a unit by itself",
    "hapacs_units_failed": "Failed units, also those that hapacs does not manage",
    "hapacs_node_drained": "Whether an operator drained the node",
    "hapacs_node_drained_time_seconds": "When the node was drained",
    "hapacs_address_held": "Whether the node has the virtual address",
    "hapacs_balancer_server_up": "Whether this balancer finds a service usable",
    "hapacs_balancer_writer": "The service that this balancer has chosen to store",
    "hapacs_database_leader": "Who leads the database, as this node's Patroni sees it",
    "hapacs_database_member_running": "Whether a member of the database runs, as this node's Patroni sees it",
    "hapacs_certificate_end_time_seconds": "When a certificate of the node ends",
    "hapacs_check_on": "Whether a check of the integrity is on",
    "hapacs_check_ended_time_seconds": "When a check of the integrity ended last",
    "hapacs_drill_ended_time_seconds": "When the last run of a drill ended that proved something",
    "hapacs_drill_ok": "Whether that run kept its promise",
    "hapacs_drill_outage_seconds": "How long nothing was stored in that run",
    "hapacs_drill_deadline_seconds": "How long that may be at most",
    "hapacs_drills_since_time_seconds": "Since when the site is watched: a site without any drill counts from then",
    "hapacs_das_mounted": "Whether the DAS is mounted",
    "hapacs_das_errors_total": "Errors of the disks of the DAS, as btrfs counts them",
    "hapacs_clock_offset_seconds": "How far the clock is off, as chrony estimates it",
}
"""What each metric says."""


def units(question: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield the states of the units of the node."""
    for unit, state in node_facts.units(question["units"]).items():
        yield "hapacs_unit_active", {"unit": unit}, state["active"]
        yield "hapacs_unit_restarts_total", {"unit": unit}, state["restarts"]
    yield "hapacs_units_failed", {}, len(node_facts.failed_units())


def drained(_question: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield whether the node is drained, and since when."""
    yield "hapacs_node_drained", {}, node_facts.DRAINED.exists()
    with contextlib.suppress(FileNotFoundError):
        yield "hapacs_node_drained_time_seconds", {}, node_facts.DRAINED.stat().st_mtime


def address(question: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield whether the node has the virtual address."""
    if "load_balancer" in question["groups"]:
        yield "hapacs_address_held", {}, question["virtual_address"] in node_facts.addresses()


def balancer(question: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield which services this balancer finds usable, and which one it has chosen to store."""
    if "load_balancer" not in question["groups"]:
        return
    found = node_facts.balancer()
    for backend, servers in found.get("servers", {}).items():
        for server, state in servers.items():
            up = state["status"].startswith("UP") and not state["paused"]
            yield "hapacs_balancer_server_up", {"backend": backend, "server": server}, up
    for server in found.get("writers", []):
        yield "hapacs_balancer_writer", {"server": server}, 1


def database(question: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield who leads the database, as this node's Patroni sees it."""
    if "patroni" not in question:
        return
    found = node_facts.patroni(question["address"], **question["patroni"])
    for member in found.get("members", []):
        running = member.get("state") in {"running", "streaming"}
        yield "hapacs_database_member_running", {"member": member["name"]}, running
        if member.get("role") == "leader":
            yield "hapacs_database_leader", {"leader": member["name"]}, 1


def certificates(question: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield when each certificate of the node ends; 0 for one that can't be read."""
    for directory in question["certificates"]:
        for path in sorted(Path(directory).glob("*.crt")):
            try:
                end = node_facts.certificate_end(path.read_text()).timestamp()
            except (OSError, ValueError, IndexError):
                end = 0
            yield "hapacs_certificate_end_time_seconds", {"path": str(path)}, end


def checks(question: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield the last runs of scrub and reconcile; one that never ran counts from when it was set up."""
    if "pacs" not in question["groups"]:
        return
    for check, found in node_facts.checks().items():
        label = {"check": check}
        yield "hapacs_check_on", label, found["on"]
        ended = datetime.fromisoformat(found["ended_at"]).timestamp() if found["ended_at"] else found["since"]
        yield "hapacs_check_ended_time_seconds", label, ended


def drills(question: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield the last runs of drills, on the nodes to which the controller writes them."""
    if "monitoring" not in question["groups"]:
        return
    yield "hapacs_drills_since_time_seconds", {}, (node_facts.UNITS / "hapacs-facts.service").stat().st_mtime
    for name, run in node_facts.drills().items():
        label = {"drill": name}
        yield "hapacs_drill_ended_time_seconds", label, run["ended"]
        yield "hapacs_drill_ok", label, run["ok"]
        yield "hapacs_drill_outage_seconds", label, run["outage_s"]
        yield "hapacs_drill_deadline_seconds", label, run["deadline_s"]


def das(question: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield whether the DAS is mounted, and what btrfs counted on its disks (btrfs-device(8))."""
    if "pacs" not in question["groups"]:
        return
    kind = node_facts.mounted(DAS)
    yield "hapacs_das_mounted", {}, bool(kind)
    if kind != "btrfs":
        return
    for line in node_facts.run("btrfs", "device", "stats", DAS)[1].splitlines():
        if found := _DEVICE_STATISTICS.match(line):
            labels = {"device": found["device"], "kind": found["kind"]}
            yield "hapacs_das_errors_total", labels, int(found["count"])


def clock(question: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield how far the clock is off, where the node keeps its own; fields of ``chronyc -c tracking`` (chronyc(1))."""
    if "chrony" not in question["units"]:
        return
    fields = node_facts.run("chronyc", "-c", "tracking")[1].split(",")
    with contextlib.suppress(IndexError, ValueError):
        yield "hapacs_clock_offset_seconds", {}, abs(float(fields[4]))


PARTS: tuple[Callable[[Mapping[str, Any]], Iterator[Sample]], ...] = (
    units, drained, address, balancer, database, certificates, checks, drills, das, clock,
)  # fmt: skip


def rendered(samples: Iterable[Sample]) -> str:
    """Return samples in Prometheus' text format, those of one metric together."""
    grouped: dict[str, list[str]] = {}
    for name, labels, value in samples:
        shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        grouped.setdefault(name, []).append(
            f"{name}{{{shown}}} {float(value)!r}" if shown else f"{name} {float(value)!r}"
        )
    lines = []
    for name, found in grouped.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += [f"# HELP {name} {ABOUT[name]}", f"# TYPE {name} {kind}", *found]
    return "\n".join([*lines, ""])


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def labelled(texts: Mapping[str, str]) -> str:
    """Join the metrics of several services to one text, and mark each sample with its service.

    Both Orthancs have the same metrics. The collector takes a metric once, with all its samples behind its description.

    Parameters
    ----------
    texts
        Metrics in Prometheus' text format, by service.
    """
    about: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for service, text in texts.items():
        family = ""
        for line in text.splitlines():
            if described := _FAMILY.match(line):
                family = described[1]
                lines = about.setdefault(family, [])
                if len(lines) < 2 and line not in lines:  # noqa: PLR2004 - HELP and TYPE
                    lines.append(line)
            elif sample := _SAMPLE.match(line):
                name, labels, value = sample[1], (sample[2] or "{}")[1:-1], sample[3]
                marked = ",".join(part for part in (labels.rstrip(","), f'service="{service}"') if part)
                samples.setdefault(family or name, []).append(f"{name}{{{marked}}}{value}")
    return "\n".join([*(line for name in samples for line in [*about.get(name, []), *samples[name]]), ""])


def passed_on(question: Mapping[str, Any]) -> str:
    """Return the metrics of services that answer root only; one that does not answer has none."""
    texts = {}
    for unit, place in question["metrics"].items():
        url = f"http://127.0.0.1:{place['port']}{place['path']}"
        with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(url) as answer:
            texts[unit] = answer.read().decode()
    return labelled(texts)


def write(directory: Path, name: str, text: str) -> None:
    """Replace a file as a whole: the collector reads at any time."""
    new = directory / f".{name}.new"
    new.write_text(text, encoding="utf-8")
    new.chmod(0o644)
    new.replace(directory / f"{name}.prom")


def collect(question: Mapping[str, Any]) -> list[Sample]:
    """Return all samples of the node; a part that fails leaves its metrics out, and says so on standard error."""
    began, found = time.monotonic(), []
    for part in PARTS:
        try:
            found += list(part(question))
        except Exception as error:  # noqa: BLE001 - a part must not end the others
            sys.stderr.write(f"event=facts_part_failed part={part.__name__} error={type(error).__name__}: {error}\n")
    found.append(("hapacs_facts_duration_seconds", {}, time.monotonic() - began))
    found.append(("hapacs_facts_time_seconds", {}, time.time()))
    return found


def main() -> None:
    """Collect once."""
    question, directory = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2])
    # For every socket that has no other limit.
    socket.setdefaulttimeout(5)
    write(directory, "services", passed_on(question))
    write(directory, "facts", rendered(collect(question)))


if __name__ == "__main__":
    main()
