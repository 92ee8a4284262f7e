"""Checks of the services: units, storage plugin, etcd, database cluster, virtual address, and the storing Orthanc.

`hapacs.site.problems` decides what is a problem.
"""

from __future__ import annotations

import httpx

from hapacs.site.access import HTTPS_PORTS, Site
from hapacs.site.problems import Subject, site_problems
from hapacs.site.running import RunningSite
from hapacs.verify.report import CheckFailedError, require

# The other subjects have their own checks. Faults of images are no faults of services: `hapacs status` reports them.
_SERVICES = frozenset(Subject) - {
    Subject.ETCD, Subject.DATABASE, Subject.ADDRESS, Subject.WRITER, Subject.STORING, Subject.INTEGRITY,
}  # fmt: skip


def check_services(site: Site, running: RunningSite) -> str:
    """Every node answers, every service on it runs and works, and balancers keep no node out that is not drained."""
    require([*_problems(running, *_SERVICES), *_plugin_problems(site)])
    units = sum(unit.active for facts in running.nodes.values() for unit in facts.units.values())
    orthancs = len(HTTPS_PORTS) * len(site.members("pacs"))
    return f"{units} units active on {len(running.nodes)} nodes, {orthancs} Orthancs healthy"


def _plugin_problems(site: Site) -> list[str]:
    """Ask the storage plugin of each Orthanc whether it can store and read right now."""
    problems = []
    for node in site.members("pacs"):
        for service in HTTPS_PORTS:
            try:
                status, report = site.hapacs(node.name, service, "health")
            except httpx.HTTPError as error:
                problems.append(f"orthanc-{service} on {node.name} does not answer: {error}")
                continue
            if status == httpx.codes.OK and report.get("ok"):
                continue
            ill = [f"{name}: {check['detail']}" for name, check in report.get("checks", {}).items() if not check["ok"]]
            problems.append(f"orthanc-{service} on {node.name} can't work: {', '.join(ill) or f'status {status}'}")
    return problems


def check_restarts(before: RunningSite, after: RunningSite) -> str:
    """No service ended by itself during the verification; systemd restarts it before the other checks notice."""
    problems = _problems(after, Subject.NODE)
    for node, facts in after.nodes.items():
        if node not in before.nodes:
            problems.append(f"{node} did not answer when the verification began")
            continue
        for unit, state in facts.units.items():
            if (ended := state.restarts - before.nodes[node].units[unit].restarts) > 0:
                problems.append(f"{unit} on {node} ended {ended} times: `journalctl -u {unit}` there")
    require(problems)
    return f"no service of {len(after.nodes)} nodes ended during the verification"


def check_etcd(running: RunningSite) -> str:
    """All members answer, follow one leader, and commit."""
    members = running.members["etcd"]
    _answer(running, members)
    require(_problems(running, Subject.ETCD))
    return f"{len(members)} members follow one leader"


def check_database(running: RunningSite) -> str:
    """Exactly one node takes writes, every member streams, and a standby confirms each commit."""
    members = running.members["postgres"]
    _answer(running, members)
    require(_problems(running, Subject.DATABASE))
    return f"{running.database_leaders[0]} leads, {len(members) - 1} standbys stream"


def check_virtual_address(running: RunningSite) -> str:
    """Exactly one node holds the virtual address."""
    require(_problems(running, Subject.ADDRESS))
    return f"{running.holders[0]} holds {running.vip}"


def check_writer(running: RunningSite) -> str:
    """All balancers have chosen the same storing Orthanc, and it would store the next image."""
    balancers = running.members["load_balancer"]
    _answer(running, balancers)
    problems = _problems(running, Subject.BALANCER, Subject.WRITER, Subject.STORING)
    # An image was stored, so each balancer must have a choice now.
    for node, balancer in running.balancers.items():
        if len(balancer.writers) != 1 and not balancer.error:
            problems.append(f"HAProxy on {node} knows {len(balancer.writers)} storing nodes instead of one")
    require(problems)
    if not running.writers:
        raise CheckFailedError(f"no node holds {running.vip}, so no balancer's choice counts")
    return f"{running.writers[0]} stores, {len(running.members['pacs']) - 1} wait"


def _problems(running: RunningSite, *subjects: Subject) -> list[str]:
    return [str(problem) for problem in site_problems(running) if problem.subject in subjects]


def _answer(running: RunningSite, members: list[str]) -> None:
    """Fail when a node does not answer: its part of the cluster can't be checked then."""
    require([str(one) for one in site_problems(running) if one.subject == Subject.NODE and one.node in members])
