"""Checks that no port serves a client without a certificate, a password or a signature."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from hapacs.services import network
from hapacs.services.model import GROUPS, Port
from hapacs.site.access import Node, Site
from hapacs.site.running import RunningSite
from hapacs.verify import port_probe
from hapacs.verify.report import CheckFailedError, require


def ports_to_probe(site: Site, node: Node, listening: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return the ports of a node to try: those of its services, and all others on which a process listens.

    Parameters
    ----------
    listening
        Ports on which a process listens, as the node reports them, with the address.
    """
    declared = network.ports([group for group in GROUPS if node in site.members(group)])
    skipped = {node.ssh_port, *network.virtual_ports(site.contract).values()}
    skipped |= {port.number for port in declared if port.guard == "ssh"}
    found = {port.number: _probe(site, node, port) for port in declared if port.number not in skipped}
    for number in listening:
        if number not in skipped:
            found.setdefault(number, _probe(site, node, Port(number, "undeclared", "closed")))
    return [found[number] for number in sorted(found)]


def _probe(site: Site, node: Node, port: Port) -> dict[str, Any]:
    address = {"management": node.management_address, "virtual": site.vip}.get(port.listens, node.address)
    return {"node": node.name, "address": address, "port": port.number, "kind": port.guard}


def check_inner_ports(site: Site, running: RunningSite) -> str:
    """No port of a node serves a client without credentials, neither from the controller nor from another node."""
    if running.silent:
        silent = "; ".join(f"{node} does not answer by SSH ({why})" for node, why in running.silent.items())
        raise CheckFailedError(f"the ports that listen are not known: {silent}")
    every = {name: ports_to_probe(site, node, running.nodes[name].listeners) for name, node in site.nodes.items()}
    nodes = list(site.nodes.values())
    problems: list[str] = []
    with ThreadPoolExecutor(max_workers=len(nodes) + 1) as pool:
        here = pool.submit(port_probe.probe_all, [port for found in every.values() for port in found])
        # Each node tries the ports of the next one.
        neighbours = [(node, nodes[(number + 1) % len(nodes)]) for number, node in enumerate(nodes) if len(nodes) > 1]
        there = [
            (node, pool.submit(site.run_script, node, Path(port_probe.__file__), every[other.name], root=False))
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
        problems.append("no port was reached, not even those that must be reachable, so the ports were not checked")
    require(problems)
    tried = sum(len(results) for _, results in answers)
    return f"{tried} attempts from {len(answers)} machines: {tried - reached} dropped, {reached} refused"


def check_local_ports(site: Site) -> str:
    """No ordinary user of a node reaches Orthanc's HTTP, which asks for no certificate."""
    inner = [port.number for port in network.ports(["pacs"]) if port.name == "http" and port.guard == "closed"]
    nodes = site.members("pacs")
    loopback = ("127.0.0.1", "::1")
    targets = [{"address": address, "port": port, "kind": "closed"} for address in loopback for port in inner]

    def tried(node: Node) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = site.run_script(node, Path(port_probe.__file__), targets, root=False)
        return results

    with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        answers = dict(zip(nodes, pool.map(tried, nodes), strict=True))
    problems = [
        f"port {result['port']} of {result['address']} can be reached by {node.ssh_user} on {node.name} itself: "
        "look at `nft list table inet hapacs_orthanc` there"
        for node, results in answers.items()
        for result in results
        if result["problem"]
    ]
    require(problems)
    return f"{len(inner)} ports of {len(nodes)} nodes are shut for users of the node"


def check_web_login(site: Site) -> str:
    """DICOMweb requires a login and serves nothing in the clear."""
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
    """DICOM TLS accepts no association without a certificate of the site."""
    port = {"address": site.vip, "port": site.contract["dicom"]["tls_port"], "kind": "tls"}
    result = port_probe.probe(port)
    if not result["reached"]:
        raise CheckFailedError(
            f"{site.vip}:{port['port']} can't be reached: look at HAProxy on the node with the virtual address"
        )
    if result["problem"]:
        raise CheckFailedError(f"{site.vip}:{port['port']} {result['problem']}")
    return "no association without a certificate"
