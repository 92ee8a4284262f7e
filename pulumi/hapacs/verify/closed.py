"""Checks that every inner port stays shut for whoever has no certificate, no password and no signature."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from hapacs.site.access import STATISTICS_PORT, Node, Site
from hapacs.site.running import RunningSite
from hapacs.verify import doors
from hapacs.verify.report import CheckFailedError, require

SSH_PORT = 22
# What listens for whom; see doors for what each kind means.
KINDS: Mapping[str, Mapping[int, str]] = {
    "etcd": {2379: "tls", 2380: "tls"},
    "postgres": {5432: "postgres", 8008: "tls"},
    "cas": {
        9333: "closed",
        19333: "tls",
        8080: "tls",
        18080: "tls",
        8888: "tls",
        18888: "tls",
        8333: "web",
        18333: "tls",
    },
    "pacs": {4242: "tls", 4243: "tls", 8042: "tls", 8043: "tls", 8045: "tls"},
    "load_balancer": {7780: "tls", 7781: "tls", 8044: "tls", STATISTICS_PORT: "web"},
}


def expected_doors(site: Site, node: Node, listening: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return the doors of a node: those of its groups, and everything else that listens there.

    Parameters
    ----------
    listening
        Ports that the node itself says something listens on, with the address.
    """
    kinds = {
        port: kind for group, ports in KINDS.items() if node in site.members(group) for port, kind in ports.items()
    }
    dicom = site.contract["dicom"]
    at_virtual_address = {dicom["port"], dicom["tls_port"], site.contract["https_port"]}
    for port in listening:
        if port not in {SSH_PORT, node.ssh_port, *at_virtual_address}:
            kinds.setdefault(port, "closed")
    # Only the statistics page listens where the node is managed.
    addresses = {STATISTICS_PORT: node.management_address}
    return [
        {"node": node.name, "address": addresses.get(port, node.address), "port": port, "kind": kind}
        for port, kind in sorted(kinds.items())
    ]


def check_doors(site: Site, running: RunningSite) -> str:
    """Nothing inside serves a stranger, neither one at the controller nor one on a neighbouring node."""
    if running.silent:
        silent = "; ".join(f"{node} does not answer by SSH ({why})" for node, why in running.silent.items())
        raise CheckFailedError(f"the ports that listen are not known: {silent}")
    every = {name: expected_doors(site, node, running.nodes[name].listeners) for name, node in site.nodes.items()}
    nodes = list(site.nodes.values())
    problems: list[str] = []
    with ThreadPoolExecutor(max_workers=len(nodes) + 1) as pool:
        here = pool.submit(doors.knock_at, [door for found in every.values() for door in found])
        # Each node knocks at the next one's doors.
        neighbours = [(node, nodes[(number + 1) % len(nodes)]) for number, node in enumerate(nodes) if len(nodes) > 1]
        there = [
            (node, pool.submit(site.run_script, node, Path(doors.__file__), every[other.name], root=False))
            for node, other in neighbours
        ]
        answers = [("the controller", here.result()), *((node.name, task.result()) for node, task in there)]
    reached = 0
    for stranger, results in answers:
        reached += sum(result["reached"] for result in results)
        problems += [
            f"port {result['port']} of {result['node']} {result['problem']}, seen from {stranger}"
            for result in results
            if result["problem"]
        ]
    if not reached:
        problems.append("no port could be reached at all, not even those that must be: nothing was proved")
    require(problems)
    tried = sum(len(results) for _, results in answers)
    return f"{tried} knocks from {len(answers)} places: {tried - reached} dropped, {reached} refused a stranger"


def check_web_login(site: Site) -> str:
    """DICOMweb wants a login, and takes no request in the clear."""
    url = f"https://{site.vip}:{site.contract['https_port']}/dicom-web/studies"
    context = site.tls("edge", client=False)
    problems = []
    for auth in (None, ("verify", "wrong-password")):
        answer = httpx.get(url, auth=auth, verify=context, timeout=10)
        if answer.status_code != httpx.codes.UNAUTHORIZED:
            problems.append(f"{'a wrong' if auth else 'no'} password is answered {answer.status_code} instead of 401")
    try:
        answer = httpx.get(url.replace("https://", "http://"), timeout=10)
    except httpx.HTTPError:
        pass
    else:
        if answer.status_code < httpx.codes.BAD_REQUEST:
            problems.append(f"a request in the clear is answered {answer.status_code}")
    require(problems)
    return "401 without a login and with a wrong one; nothing in the clear"


def check_dicom_tls(site: Site) -> str:
    """DICOM TLS takes no association from who has no certificate of the site."""
    door = {"address": site.vip, "port": site.contract["dicom"]["tls_port"], "kind": "tls"}
    result = doors.knock(door)
    if not result["reached"]:
        raise CheckFailedError(f"{site.vip}:{door['port']} can't be reached: is HAProxy up where the address is?")
    if result["problem"]:
        raise CheckFailedError(f"{site.vip}:{door['port']} {result['problem']}")
    return "no association without a certificate"
