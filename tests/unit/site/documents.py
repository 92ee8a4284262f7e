"""Documents as `hapacs.site.node_facts` prints them, of a healthy site whose leads lie on different nodes.

Node ``a`` leads database and archive, ``b`` stores and holds the virtual address, ``c`` (else the last) leads etcd.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

VIP = "192.0.2.10"
NAMES = ("a", "b", "c")
GROUPS = ("etcd", "postgres", "cas", "pacs", "load_balancer", "monitoring")
Document = dict[str, Any]


def address(name: str) -> str:
    """Return the address of a node."""
    return f"192.0.2.{NAMES.index(name) + 1}"


def unit(state: str = "active (running)", restarts: int = 0) -> Document:
    """Return the state of a unit."""
    return {"active": state.startswith("active"), "state": state, "restarts": restarts}


def check(**values: Any) -> Document:
    """Return the last run of a check of the integrity: a short time ago, and all was well."""
    now = datetime.now(UTC)
    return {
        "on": True,
        "since": now.timestamp() - 1e6,
        "ended_at": now.isoformat(),
        "failure": None,
        "open": 0,
    } | values


def document(name: str, names: Sequence[str] = NAMES) -> Document:
    """Return the facts of a node; each part is the caller's to change."""
    holder = "b" if "b" in names else "a"
    servers = {
        backend: {other: {"status": "UP", "sessions": 0, "paused": False} for other in names}
        for backend in ("store_dicom", "query_dicom")
    }
    return {
        "units": {"etcd": unit(), "haproxy": unit()},
        "failed": [],
        "listeners": {"22": "0.0.0.0"},  # noqa: S104 - what ss prints
        "addresses": [address(name), *([VIP] if name == holder else [])],
        "das": "btrfs",
        "room": {"das_bytes": 100, "das_free_bytes": 50, "cas_used_bytes": 7},
        "database_room": {"bytes": 100 * 2**30, "free_bytes": 50 * 2**30},
        "firewall": True,
        "balancer": {"writers": [holder], "servers": servers},
        "archive_leads": name == "a",
        "health": {"orthanc-store": "", "orthanc-query": "", "seaweedfs-volume": ""},
        "associations": {"store": 0, "query": 0},
        "drained": False,
        "certificate": {"path": "/etc/etcd/tls/server.crt", "ends": "2999-01-01 00:00:00Z"},
        "etcd": {"number": 101 + names.index(name), "leader": 100 + len(names), "commits": True},
        "patroni": {
            "members": [
                {
                    "name": other, "role": "leader" if other == "a" else "quorum_standby",
                    "state": "running" if other == "a" else "streaming", "lag": 0,
                }
                for other in names
            ]
        },
        "leads": name == "a",
        "checks": {"scrub": check(), "reconcile": check()},
    }  # fmt: skip


def plain(*names: str) -> Document:
    """Return a whole site, as ``tasks/describe_site.yml`` puts it together."""
    nodes = [{"name": name, "address": address(name), "zone": f"rack_{name}"} for name in names]
    return {
        "vip": VIP,
        "members": dict.fromkeys(GROUPS, nodes),
        "states": {name: document(name, names) for name in names},
        "association": "",
    }


def drain(site: Document, *names: str) -> Document:
    """Mark nodes as drained, and return the site."""
    for name in names:
        site["states"][name]["drained"] = True
        for state in site["states"].values():
            for member in state["patroni"]["members"]:
                if member["name"] in names:
                    member["tags"] = {"nofailover": True}
    return site


def set_member(site: Document, *names: str, **values: Any) -> None:
    """Change members of the database cluster in the view of every node."""
    for state in site["states"].values():
        for member in state["patroni"]["members"]:
            if member["name"] in names:
                member.update(values)


BREAK: Mapping[str, Callable[[Document], object]] = {
    "node off": lambda site: site["states"].update(c={"error": "no route to host"}),
    "unit": lambda site: site["states"]["c"]["units"].update(etcd=unit("failed (failed)")),
    "orthanc": lambda site: site["states"]["c"]["health"].update({"orthanc-store": "its health is answered 503"}),
    "archive": lambda site: site["states"]["c"]["health"].update({"seaweedfs-volume": "no answer"}),
    "etcd": lambda site: site["states"]["c"]["etcd"].update(commits=False),
    "two etcd leaders": lambda site: site["states"]["b"]["etcd"].update(leader=101),
    "etcd silent": lambda site: site["states"]["c"].update(etcd={"error": "context deadline exceeded"}),
    "two leaders": lambda site: site["states"]["c"].update(leads=True),
    "postgres silent": lambda site: site["states"]["c"].update(leads=None),
    "patroni silent": lambda site: site["states"]["c"].update(patroni={"error": "refused"}),
    "other leader named": lambda site: site["states"]["c"]["patroni"]["members"][1].update(role="leader"),
    "standby": lambda site: set_member(site, "c", state="stopped"),
    "member missing": lambda site: site["states"]["b"]["patroni"]["members"].pop(2),
    "no synchronous standby": lambda site: set_member(site, "b", "c", role="replica"),
    "no address": lambda site: site["states"]["b"]["addresses"].pop(),
    "two addresses": lambda site: site["states"]["c"]["addresses"].append(VIP),
    "balancer": lambda site: site["states"]["c"].update(balancer={"error": "connection refused"}),
    "other unit": lambda site: site["states"]["c"]["failed"].append("logrotate.service"),
    "firewall": lambda site: site["states"]["c"].update(firewall=False),
    "database disk": lambda site: site["states"]["c"]["database_room"].update(free_bytes=9 * 2**30),
    "das": lambda site: site["states"]["c"].update(das=""),
    "certificate": lambda site: site["states"]["c"]["certificate"].update(ends="2020-01-01 00:00:00Z"),
    "unreadable certificate": lambda site: site["states"]["c"]["certificate"].update(ends="unreadable"),
    "paused": lambda site: site["states"]["b"]["balancer"]["servers"]["query_dicom"]["c"].update(paused=True),
    "two writers": lambda site: site["states"]["c"]["balancer"].update(writers=["c"]),
    "no association": lambda site: site.update(association="no answer within 3 s"),
    "writer down": lambda site: site["states"]["b"]["balancer"]["servers"]["store_dicom"]["b"].update(status="DOWN"),
    "faults": lambda site: site["states"]["c"]["checks"]["reconcile"].update(open=7),
    "check failed": lambda site: site["states"]["c"]["checks"]["scrub"].update(failure="no gateway answers"),
    "check late": lambda site: site["states"]["c"]["checks"]["scrub"].update(ended_at="2020-01-01T00:00:00+00:00"),
    "no check yet": lambda site: site["states"]["c"]["checks"].update(reconcile=check(ended_at=None)),
}
"""Ways to break a healthy site of three nodes, by name."""
