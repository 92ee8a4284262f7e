"""Which alerts an operation or a drill raises although nothing is wrong.

A page says that callers miss a service, or that data are at risk: no planned operation causes one, so none is silenced,
except for a node that may be switched off. A drill whose fault takes the whole service away is the second exception.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hapacs.services import nodes, table

if TYPE_CHECKING:
    from hapacs.drills.model import Drill

WINDOWS_S: Mapping[str, int] = {
    "StorageStepsFail": 900,
    "AlertsNotSent": 600,
    "ProbeSilent": 600,
    "NotificationsFail": 600,
    "OnlineCopiesMissed": 1800,
    "UnitRestarts": 1800,
    "DasDiskErrors": 3600,
    "DasHeals": 3600,
    # Its short windows: an objective burns no longer than that after the last failure.
    "ObjectiveBurnsFast": 1800,
}
"""Alerts that count over a time, in seconds: they stay for so long after their cause is gone."""

_OF_NODE = (
    "DatabaseExporterBlind", "DasNotMounted", "EtcdWithoutLeader", "FactsOld", "HealthCheckFails", "ProbeSilent",
    "ReplicaLags", "TargetDown", "UnitFailed", "UnitInactive", "UnitRestarts",
)  # fmt: skip
"""What services of a node raise that stop or start again, with the label `node`."""
_OF_SITE = ("AlertmanagerAlone", "AlertsNotSent", "ArchiveWithoutLeader", "LeaderViewsDiffer", "NotificationsFail")
"""What other nodes or the site raise about it."""

_UNITS: Mapping[str, tuple[str, ...]] = {
    "etcd": ("EtcdWithoutLeader",),
    "patroni": ("DatabaseExporterBlind", "LeaderViewsDiffer", "ReplicaLags"),
    "prometheus-postgres-exporter": ("DatabaseExporterBlind",),
    "seaweedfs-master": ("ArchiveWithoutLeader",),
    "prometheus-alertmanager": ("AlertmanagerAlone", "AlertsNotSent", "NotificationsFail"),
    "hapacs-probe": ("ProbeSilent",),
}
"""What a service raises beside that it does not run."""

_SWITCHED: Mapping[str, tuple[str, ...]] = {
    "database": ("HealthCheckFails", "LeaderViewsDiffer", "ReplicaLags", "StorageStepsFail"),
    "storing": ("HealthCheckFails", "StorageStepsFail"),
    "address": ("HealthCheckFails",),
}

_DRILLED: Mapping[str, tuple[str, ...]] = {
    "entry": ("OnlineCopiesMissed", "StorageStepsFail"),
    "storing": ("OnlineCopiesMissed", "StorageStepsFail"),
    "database": ("LeaderViewsDiffer", "StorageStepsFail"),
    "archive": ("ArchiveGatewayDown", "ArchiveWithoutLeader", "StorageStepsFail"),
    "data": ("ArchiveGatewayDown", "OnlineCopiesMissed", "StorageStepsFail"),
}
"""What a fault raises on any node, by what it hits."""
_DRILLED_NODE: Mapping[str, tuple[str, ...]] = {
    "data": (
        "CertificateEnds", "CertificateEndsSoon", "ClocksDiffer", "CopiesDamaged", "DasDiskErrors", "DasHeals",
        "DiskAlmostFull", "DiskFullSoon",
    ),
    "storing": ("CertificateEnds", "CertificateEndsSoon"),
}  # fmt: skip
"""What a fault raises on the node that it hits."""
_REFUSED = (
    "ArchiveUnavailable", "DatabaseNotLedOnce", "NoSynchronousStandby", "ObjectiveBurnsFast", "QueryUnavailable",
    "StoreUnavailable",
)  # fmt: skip
"""What a fault raises that takes the whole service away."""

_OTHER_SITE = ("CanaryNotConfirmed", "NotificationsFail", "OtherSiteSilent", "SecondSiteBehind", "WalNotArriving")
"""What a site raises whose other one is away; its Alertmanagers send their Watchdog there."""


@dataclass(frozen=True)
class Cause:
    """Alerts that an operation raises.

    Attributes
    ----------
    alerts
        Their names.
    label, values
        Only those with one of these values in a label; without a label all of the site.
    beginnings
        Whether the label only has to begin with one of the values.
    """

    alerts: tuple[str, ...]
    label: str = ""
    values: tuple[str, ...] = ()
    beginnings: bool = False

    def matchers(self) -> dict[str, str]:
        """Return regular expressions by label; Alertmanager anchors them."""
        found = {"alertname": "|".join(self.alerts)}
        if self.label:
            rest = ".*" if self.beginnings else ""
            found[self.label] = "|".join(f"{re.escape(value)}{rest}" for value in self.values)
        return found

    def by_window(self) -> list[tuple[int, Cause]]:
        """Return its parts, each with the time in seconds for which its alerts stay after the cause is gone."""
        times: dict[int, list[str]] = {}
        for alert in self.alerts:
            times.setdefault(WINDOWS_S.get(alert, 0), []).append(alert)
        return [
            (seconds, Cause(tuple(alerts), self.label, self.values, self.beginnings))
            for seconds, alerts in sorted(times.items())
        ]


def of_nodes(addresses: Mapping[str, str], members: nodes.Members, *, off: bool) -> list[Cause]:
    """Return what nodes raise whose services stop.

    Parameters
    ----------
    addresses
        The nodes, each with its address in the cluster.
    members
        Names of the site's nodes by group.
    off
        Whether their machines may stop too.
    """
    names = tuple(sorted(addresses))
    if not names:
        return []
    gateways = tuple(f"https://{addresses[name]}:{nodes.port('seaweedfs-s3', 's3')}" for name in names)
    found = [
        Cause((*_OF_NODE, *(["NodeDown"] if off else [])), "node", names),
        Cause(("ServiceFailsProbe",), "target", names),
        Cause(("DatabaseMemberDown",), "member", names),
        Cause(("ArchiveGatewayDown",), "gateway", gateways, beginnings=True),
    ]
    if off and set(names) & set(nodes.pair(members.get("monitoring", ()))):
        found.append(Cause(("AlertmanagerAlone", "AlertsNotSent", "NotificationsFail")))
    return found


def of_services(units: Collection[str]) -> list[Cause]:
    """Return what services raise that restart, on whichever node."""
    names = tuple(sorted(units))
    jobs = tuple(name for name in names if name in _jobs())
    found = [
        Cause(("UnitInactive", "UnitRestarts"), "unit", names),
        Cause(("HealthCheckFails", "ServiceFailsProbe"), "service", names),
    ]
    if jobs:
        found.append(Cause(("TargetDown",), "job", jobs))
    if beside := tuple(dict.fromkeys(alert for name in names for alert in _UNITS.get(name, ()))):
        found.append(Cause(beside))
    if "patroni" in names:
        found.append(Cause(("DatabaseMemberDown",)))
    if "seaweedfs-s3" in names:
        found.append(Cause(("ArchiveGatewayDown",)))
    return found


def of_all_services() -> list[Cause]:
    """Return what the restart of all services raises."""
    return [Cause((*_OF_NODE, *_OF_SITE, "ServiceFailsProbe", "DatabaseMemberDown", "ArchiveGatewayDown"))]


def of_restart(service: str) -> list[Cause]:
    """Return what ``hapacs restart --service`` raises."""
    return of_all_services() if service == "all" else of_services([service])


def of_rotation(kind: str) -> list[Cause]:
    """Return what ``hapacs rotate --kind`` raises: the services that take up the secrets restart."""
    units = [one.unit for one in table.SERVICES if any(secret.kind == kind for secret in one.secrets)]
    return of_services(units) if units else []


def of_switchover(what: str) -> list[Cause]:
    """Return what ``hapacs switchover --what`` raises."""
    return [Cause(_SWITCHED[what])]


def of_drill(drill: Drill, hit: Collection[str], addresses: Mapping[str, str], members: nodes.Members) -> list[Cause]:
    """Return what the fault of a drill raises.

    Parameters
    ----------
    hit
        The nodes that it hits; none for a planned operation.
    addresses
        All nodes of the site, each with its address in the cluster.
    members
        Names of the site's nodes by group.
    """
    from hapacs.drills.model import InARow, OtherSite, Restart, Switchover  # noqa: PLC0415 - other commands need no drills

    match drill.fault:
        case Switchover(what):
            return of_switchover(what)
        case Restart(service):
            return of_restart(service)
        case OtherSite():
            return [Cause(_OTHER_SITE)]
    off = {name: addresses[name] for name in hit}
    found = [*of_nodes(off, members, off=True), Cause(_DRILLED[drill.hits])]
    if isinstance(drill.fault, InARow):
        # Which one the second fault hits is known when the first one is there.
        found += of_nodes({name: at for name, at in addresses.items() if name not in off}, members, off=False)
    if beside := _DRILLED_NODE.get(drill.hits):
        found.append(Cause(beside, "node", tuple(sorted(off))))
    if drill.refuses:
        found.append(Cause(_REFUSED))
    return found


def alerts(causes: Iterable[Cause]) -> set[str]:
    """Return the names of all alerts of some causes."""
    return {alert for cause in causes for alert in cause.alerts}


def _jobs() -> set[str]:
    """Return the services whose metrics are scraped under their own names."""
    return {one.unit for one in table.SERVICES if one.metrics is not None and not one.metrics.facts}
