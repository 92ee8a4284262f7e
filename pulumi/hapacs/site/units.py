"""Which units a node runs, by the groups that it is in; see the roles of the same names in ansible/roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

UNITS: Mapping[str, tuple[str, ...]] = {
    "etcd": ("etcd",),
    "postgres": ("patroni",),
    "cas": ("seaweedfs-volume", "seaweedfs-filer", "seaweedfs-s3"),
    "pacs": ("orthanc-store", "orthanc-query", "orthanc-tls", "das-scrub.timer"),
    "load_balancer": ("viewer", "haproxy", "keepalived"),
}
_BASE_UNITS = ("ssh", "nftables", "systemd-journald")
_MASTERS = 3


def masters(cas: Sequence[str]) -> Sequence[str]:
    """Return which members of the archive have a SeaweedFS master: an odd number, three at most (role seaweedfs)."""
    return cas[:_MASTERS] if len(cas) >= _MASTERS else cas[:1]


def question(node: str, address: str, members: Mapping[str, Sequence[str]], *, sizing: str) -> dict[str, Any]:
    """Return what `node_facts` has to be told to ask about a node.

    Parameters
    ----------
    members
        Names of the site's nodes by group.
    sizing
        Nodes that share a machine leave the clock to it.
    """
    groups = [group for group, names in members.items() if node in names]
    units = [*_BASE_UNITS, *(["chrony"] if sizing == "dedicated" else [])]
    units += [unit for group, names in UNITS.items() if group in groups for unit in names]
    if node in masters(members.get("cas", ())):
        units.append("seaweedfs-master")
    return {
        "units": units,
        "address": address,
        "seaweedfs": [unit.removeprefix("seaweedfs-") for unit in units if unit.startswith("seaweedfs-")],
        "etcd": "etcd" in groups,
        "postgres": "postgres" in groups,
        "das": "pacs" in groups,
        "balancer": "load_balancer" in groups,
    }
