"""Which metrics a running site gives: keeps their names, types and labels, never a value.

    .venv/bin/python -m monitoring.scrape [--add] lab

asks every node of a deployment as Prometheus does, with the controller's certificate, and replaces
``monitoring/scrapes/metrics.json``. Rules may use only what is there. ``--add`` keeps what is there already: some
metrics come with a drill, a destination or a failure only, and not all of them at the same time.
"""

from __future__ import annotations

import argparse
import json
import re
import ssl
import sys
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hapacs import contract
from hapacs.deployment import Deployment
from hapacs.services import network, nodes

FILE = Path(__file__).parent / "scrapes" / "metrics.json"
_TYPE = re.compile(r"^# TYPE (\S+) (\S+)$")
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+")
_LABEL = re.compile(r'(\w+)="(?:[^"\\]|\\.)*"')
_SUFFIX = re.compile(r"_(bucket|sum|count|total|created)$")
# Prometheus makes it itself.
_OWN = {"up": {"type": "gauge", "labels": [], "jobs": []}}


def context(pki: Path) -> ssl.SSLContext:
    """Return the TLS of a client with the controller's certificate of the authority `monitoring`."""
    made = ssl.create_default_context(cafile=str(pki / "monitoring" / "ca.crt"))
    made.load_cert_chain(pki / "controller-monitoring.crt", pki / "controller-monitoring.key")
    return made


def fetch(address: str, job: str, tls: ssl.SSLContext, timeout_s: float = 20) -> str:
    """Return the metrics of one service of a node."""
    url = f"https://{address}:{nodes.port('exporters', 'metrics')}/{job}"
    with urllib.request.urlopen(url, context=tls, timeout=timeout_s) as answer:
        text: str = answer.read().decode()
    return text


def parsed(job: str, texts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the metrics of a job: their type and the names of their labels."""
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        types: dict[str, str] = {}
        for line in text.splitlines():
            if described := _TYPE.match(line):
                types[described[1]] = described[2]
            elif sample := _SAMPLE.match(line):
                name = sample[1]
                kind = types.get(name) or types.get(_SUFFIX.sub("", name), "untyped")
                entry = found.setdefault(name, {"type": kind, "labels": set(), "jobs": [job]})
                entry["labels"] |= set(_LABEL.findall(sample[2] or ""))
    return {name: entry | {"labels": sorted(entry["labels"])} for name, entry in found.items()}


def merged(parts: Iterable[Mapping[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Join the metrics of several jobs."""
    found: dict[str, dict[str, Any]] = {name: dict(entry) for name, entry in _OWN.items()}
    for part in parts:
        for name, entry in part.items():
            known = found.setdefault(name, {"type": entry["type"], "labels": [], "jobs": []})
            known["labels"] = sorted({*known["labels"], *entry["labels"]})
            known["jobs"] = sorted({*known["jobs"], *entry["jobs"]})
    return found


def write(found: Mapping[str, dict[str, Any]]) -> None:
    """Replace the kept scrape."""
    FILE.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def kept() -> dict[str, dict[str, Any]]:
    """Return the kept scrape."""
    found: dict[str, dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def of_site(site: Mapping[str, Any], sizing: Any, tls: ssl.SSLContext) -> list[dict[str, dict[str, Any]]]:
    """Ask all nodes of a site of the contract."""
    jobs = network.jobs(site["members"], sizing)
    return [
        parsed(job, [fetch(site["nodes"][name]["address"], job, tls) for name in names]) for job, names in jobs.items()
    ]


def main() -> None:
    """Refresh the kept scrape from a running deployment."""
    parser = argparse.ArgumentParser(prog="monitoring.scrape")
    parser.add_argument("--add", action="store_true", help="keep the metrics of the kept scrape")
    parser.add_argument("deployment")
    given = parser.parse_args()
    deployment = Deployment.load(given.deployment)
    deployment.require_up()
    found = contract.read(deployment.contract_file) or {}
    tls = context(deployment.pki_directory)
    parts = [part for site in found["sites"].values() for part in of_site(site, found["sizing"], tls)]
    write(merged([*parts, kept()] if given.add else parts))
    sys.stdout.write(f"{FILE}: {len(kept())} metrics\n")


if __name__ == "__main__":
    main()
