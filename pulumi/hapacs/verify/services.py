"""Checks of what runs: services, etcd, the database cluster, the balancers, the virtual address, the storage plugin."""

from __future__ import annotations

from typing import Any

import httpx

from hapacs.site.access import HTTPS_PORTS, Node, Site
from hapacs.site.collect import Facts
from hapacs.verify.report import CheckFailedError, require


def check_services(site: Site, facts: Facts) -> str:
    """Every service of every node runs and answers."""
    problems = []
    running = 0
    for node, answer in facts.items():
        if "error" in answer:
            problems.append(answer["error"])
            continue
        for unit, state in answer["units"].items():
            running += bool(state["active"])
            if not state["active"]:
                problems.append(f"{unit} on {node} is {state['state']}: `journalctl -u {unit}` there")
        problems += [f"{unit} on {node} has failed" for unit in answer["failed"] if unit not in answer["units"]]
        problems += [f"seaweedfs-{name} on {node}: {error}" for name, error in answer["seaweedfs"].items() if error]
        if not answer["firewall"]:
            problems.append(f"{node} has no table inet hapacs: its firewall is not loaded")
        if answer["das"] is not None and answer["das"] != "btrfs":
            problems.append(f"/srv/das on {node} is {answer['das'] or 'not mounted'}")
    problems += _plugin_problems(site)
    require(problems)
    return (
        f"{running} units active on {len(facts)} nodes, {len(HTTPS_PORTS) * len(site.members('pacs'))} Orthancs healthy"
    )


def _plugin_problems(site: Site) -> list[str]:
    """Ask the storage plugin of each Orthanc whether it can do its work right now."""
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


def check_restarts(before: Facts, after: Facts) -> str:
    """No service ended by itself while it was verified; systemd starts it again so soon that nobody would notice."""
    problems = []
    for node, answer in after.items():
        if "error" in answer or "error" in before[node]:
            problems.append(answer.get("error") or before[node]["error"])
            continue
        for unit, state in answer["units"].items():
            if (ended := state["restarts"] - before[node]["units"][unit]["restarts"]) > 0:
                problems.append(f"{unit} on {node} ended {ended} times: `journalctl -u {unit}` there")
    require(problems)
    return f"no service of {len(after)} nodes ended during the verification"


def check_etcd(site: Site, facts: Facts) -> str:
    """All members answer, follow one leader, and commit."""
    problems: list[str] = []
    leaders: set[int] = set()
    members = site.members("etcd")
    for node in members:
        answer = _of(facts, node, "etcd")
        if answer.get("error"):
            problems.append(f"etcd on {node.name}: {answer['error']}")
        leaders |= {entry["Status"]["leader"] for entry in answer.get("status", ())}
        healthy = {entry["endpoint"] for entry in answer.get("health", ()) if entry.get("health")}
        ill = [other.name for other in members if f"https://{other.address}:2379" not in healthy]
        if ill:
            problems.append(f"{node.name} does not see as healthy: {', '.join(ill)}")
    if len(leaders) != 1:
        problems.append(f"{len(leaders)} leaders are named instead of one")
    require(problems)
    return f"{len(members)} members follow one leader"


def check_database(site: Site, facts: Facts) -> str:
    """Exactly one leader, and a standby that confirms each commit."""
    members = site.members("postgres")
    problems = []
    takes_writes = [node.name for node in members if _of(facts, node, "leads") is True]
    silent = [node.name for node in members if _of(facts, node, "leads") is None]
    problems += [f"PostgreSQL on {name} does not answer" for name in silent]
    if len(takes_writes) != 1:
        problems.append(f"{', '.join(takes_writes) or 'no node'} takes writes instead of exactly one")
    views = set()
    for node in members:
        cluster = _of(facts, node, "patroni")
        if "error" in cluster:
            problems.append(f"Patroni on {node.name} does not answer: {cluster['error']}")
            continue
        seen = {member["name"]: (member["role"], member["state"]) for member in cluster["members"]}
        views.add(tuple(sorted(name for name, (role, _) in seen.items() if role == "leader")))
        problems += [f"{node.name} misses {other.name} in the cluster" for other in members if other.name not in seen]
        states = {name: state for name, (_, state) in seen.items() if state not in {"running", "streaming"}}
        problems += [f"{name} is {state}, says {node.name}" for name, state in states.items()]
        synchronous = [name for name, (role, _) in seen.items() if role in {"sync_standby", "quorum_standby"}]
        if len(members) > 1 and not synchronous:
            problems.append(f"no standby is synchronous, says {node.name}: an acknowledged image could be lost")
    if takes_writes and views and views != {tuple(takes_writes)}:
        problems.append(f"Patroni names {sorted(views)} as leaders, {takes_writes} takes writes")
    require(problems)
    return f"{takes_writes[0]} leads, {len(members) - 1} standbys stream"


def check_virtual_address(site: Site, facts: Facts) -> str:
    """Exactly one node holds the virtual address."""
    holders = [node for node, answer in facts.items() if site.vip in answer.get("addresses", ())]
    if len(holders) != 1:
        raise CheckFailedError(
            f"{site.vip} is held by {', '.join(holders) or 'no node'}: `journalctl -u keepalived` on each node"
        )
    return f"{holders[0]} holds {site.vip}"


def check_writer(site: Site, facts: Facts) -> str:
    """All balancers have chosen the same storing Orthanc, and it is healthy for the one that holds the address."""
    problems = []
    chosen: dict[str, list[str]] = {}
    for node in site.members("load_balancer"):
        answer = _of(facts, node, "balancer")
        if "error" in answer:
            problems.append(f"HAProxy on {node.name} does not answer: {answer['error']}")
        else:
            chosen[node.name] = answer["writers"]
    writers = {writer for names in chosen.values() for writer in names}
    if len(writers) != 1:
        problems.append(f"the balancers have chosen {', '.join(sorted(writers)) or 'none'} instead of one: {chosen}")
    if undecided := [node for node, names in chosen.items() if len(names) != 1]:
        problems.append(f"{', '.join(undecided)} does not know which Orthanc stores: look at HAProxy's peers")
    holders = [node for node, answer in facts.items() if site.vip in answer.get("addresses", ())]
    for holder in holders:
        up = up_servers(site, site.nodes[holder], "store_dicom")
        problems += [f"{writer} stores but is not up, says {holder}" for writer in writers if writer not in up]
    require(problems)
    return f"{next(iter(writers))} stores, {len(site.members('pacs')) - 1} wait"


def up_servers(site: Site, node: Node, backend: str) -> list[str]:
    """Return the servers of a backend that a balancer's statistics page shows as up."""
    answer = httpx.get(
        f"https://{node.management_address}:8404/;csv",
        auth=("statistics", site.secrets["hapacs_secret_statistics_password"]),
        verify=site.tls("edge", client=False),
        timeout=10,
    )
    answer.raise_for_status()
    lines = [line.split(",") for line in answer.text.lstrip("# ").splitlines() if line]
    rows = [dict(zip(lines[0], line, strict=False)) for line in lines[1:]]
    servers = [row for row in rows if row["pxname"] == backend and row["svname"] not in {"FRONTEND", "BACKEND"}]
    return [row["svname"] for row in servers if row["status"].startswith("UP")]


def _of(facts: Facts, node: Node, key: str) -> Any:
    answer = facts[node.name]
    if "error" in answer:
        raise CheckFailedError(answer["error"])
    return answer[key]
