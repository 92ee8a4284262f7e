"""``hapacs status``: the nodes, what runs on them, who leads, and how much room is left."""

from __future__ import annotations

import json as json_module
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from hapacs import node_status, ssh
from hapacs.cli.lifecycle import Json, Name
from hapacs.cli.output import ExitCode, console, errors, print_json
from hapacs.deployment import Deployment
from hapacs.errors import RefusedError

_TIMEOUT_S = 30


def status(name: Name = "lab", json: Json = False) -> None:
    """Show each node's services, the database leader, the storing Orthanc, the virtual address, and free space."""
    deployment = Deployment.load(name)
    with errors.status("Asking the nodes"):
        found = collect(deployment)
    if json:
        print_json(found)
    else:
        for site_name, site in found["sites"].items():
            _print(site_name, site)
    if not found["ok"]:
        raise typer.Exit(ExitCode.UNHEALTHY)


def collect(deployment: Deployment) -> dict[str, Any]:
    """Return what the nodes say of themselves, site by site.

    Raises
    ------
    RefusedError
        If the deployment is not up.
    """
    if not deployment.contract_file.exists():
        raise RefusedError(f"{deployment.name!r} is not up.", f"Run `hapacs up {deployment.name}` first.")
    contract = json_module.loads(deployment.contract_file.read_text(encoding="utf-8"))
    sites = {}
    for site_name, site in contract["sites"].items():
        nodes = site["nodes"]
        with ThreadPoolExecutor(max_workers=8) as pool:
            answers = dict(zip(nodes, pool.map(lambda node: _ask(deployment, node), nodes.values()), strict=True))
        sites[site_name] = summarise(site["vip"]["address"], answers, site["members"]["pacs"])
    return {"deployment": deployment.name, "ok": all(site["ok"] for site in sites.values()), "sites": sites}


def summarise(vip: str, answers: dict[str, dict[str, Any]], storing: list[str]) -> dict[str, Any]:
    """Return the state of a site from its nodes' answers.

    Parameters
    ----------
    vip
        The site's virtual address.
    answers
        For each node what :mod:`hapacs.node_status` printed, or ``{"error": ...}``.
    storing
        The nodes that must have a DAS.
    """
    holders = [node for node, answer in answers.items() if vip in answer.get("addresses", ())]
    leaders = [node for node, answer in answers.items() if answer.get("database") == "leader"]
    seen_by = answers[holders[0]]["balancer"] if holders else []
    failing = {
        node: sorted(unit for unit, state in answer.get("services", {}).items() if state != "active")
        + ["no DAS"] * (node in storing and "error" not in answer and answer["das"] is None)
        for node, answer in answers.items()
    }
    return {
        "ok": len(holders) == 1
        and len(leaders) == 1
        and not any(failing.values())
        and not any("error" in answer for answer in answers.values()),
        "vip": {"address": vip, "nodes": holders},
        "database_leaders": leaders,
        "writer": _writer(seen_by),
        "nodes": {node: answer | {"failing": failing[node]} for node, answer in answers.items()},
    }


def _writer(servers: list[dict[str, str]]) -> str | None:
    """Return the node whose Orthanc stores: the first that is up among those of the storing DICOM backend."""
    storing = [server for server in servers if "store" in server["pxname"] and server["status"].startswith("UP")]
    dicom = [server for server in storing if "dicom" in server["pxname"]] or storing
    active = [server for server in dicom if server["act"] == "1"] or dicom
    return active[0]["svname"] if active else None


def _ask(deployment: Deployment, node: dict[str, Any]) -> dict[str, Any]:
    command = ssh.command(
        node["management_address"], deployment.ssh_key, deployment.known_hosts, "sudo", "python3", "-",
        user=node["ssh_user"], port=node["ssh_port"],
    )  # fmt: skip
    script = Path(node_status.__file__).read_text(encoding="utf-8")
    try:
        done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {_TIMEOUT_S} s"}
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no answer"}
    answer: dict[str, Any] = json_module.loads(done.stdout)
    return answer


def _print(site_name: str, site: dict[str, Any]) -> None:
    table = Table(
        "node", "services", "database", "virtual address", "stores", "DAS free", "CAS used", title=site_name, box=None
    )
    for node, answer in site["nodes"].items():
        if "error" in answer:
            table.add_row(node, f"[red]{answer['error']}[/]")
            continue
        failing = answer["failing"]
        running = len(answer["services"]) - len(failing)
        table.add_row(
            node,
            f"[red]{', '.join(failing)}[/]" if failing else f"[green]{running} running[/]",
            answer["database"],
            site["vip"]["address"] if node in site["vip"]["nodes"] else "",
            "writer" if node == site["writer"] else "",
            _room(answer["das"]),
            f"{answer['cas_used_bytes'] / 2**30:.1f} GiB",
        )
    console.print(table)
    if not site["ok"]:
        console.print("[red]Not everything is well.[/] `hapacs verify` says more; `hapacs up` repairs what it can.")


def _room(space: dict[str, int] | None) -> str:
    if space is None:
        return "[red]not mounted[/]"
    return f"{space['free_bytes'] / 2**30:.1f}/{space['total_bytes'] / 2**30:.1f} GiB"
