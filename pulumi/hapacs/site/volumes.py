"""The filers' metadata of a site from nothing but the volume files of its archive nodes.

A volume is on some of the nodes only, so each reads its own, and one of them puts together what all have found. What
they send each other goes through this machine, from one pipe into the next.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from hapacs import interruption, ssh
from hapacs.errors import HapacsError
from hapacs.site.access import Node, NodeError, Site

PROGRAM = "/opt/hapacs/seaweedfs/bin/seaweedfs-volumes"
# A node with 100 TB at 200 MB/s, if no journal names anything.
_TIMEOUT_S = 7 * 24 * 3600


def found_again(site: Site, now: Callable[[str], None]) -> dict[str, Any]:
    """Find the metadata in the volume files of all archive nodes, and give it to the filers.

    Returns
    -------
    dict
        ``nodes``: what each node read; ``objects`` and ``directories`` that the filers were given.

    Raises
    ------
    HapacsError
        When a node does not answer: what only it has would be missing.
    """
    nodes = site.members("cas")
    if not nodes:
        raise HapacsError(f"{site.name} has no archive of its own.", "Check `sites` in the settings.")
    first = nodes[0]
    now("reading the journals")
    counts = {node.name: Counter(found) for node, found in zip(nodes, _all(site, nodes, "journal"), strict=True)}
    _put_together(site, first, nodes[1:])
    now("looking for what no journal names")
    for node in nodes:
        counts[node.name].update(json.loads(_piped(site, (first, "fids"), (node, "needles"))))
    _put_together(site, first, nodes[1:])
    now("giving it to the filers")
    loaded: dict[str, Any] = json.loads(site.run(first, _words("load"), "", _TIMEOUT_S))
    return {"nodes": {name: dict(found) for name, found in counts.items()}, **loaded}


def _put_together(site: Site, first: Node, others: Sequence[Node]) -> None:
    for node in others:
        _piped(site, (node, "give"), (first, "take"))


def _all(site: Site, nodes: Sequence[Node], work: str) -> list[dict[str, int]]:
    def one(node: Node) -> dict[str, int]:
        found: dict[str, int] = json.loads(site.run(node, _words(work), "", _TIMEOUT_S))
        return found

    with interruption.Workers(max_workers=len(nodes)) as pool:
        return list(pool.map(one, nodes))


def _piped(site: Site, source: tuple[Node, str], target: tuple[Node, str]) -> str:
    """Run one work, and another one on a second node with the bytes that the first prints."""
    giving, taking = _command(site, *source), _command(site, *target)
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(giving, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints) as giver,
    ):
        try:
            taken = subprocess.run(
                taking, stdin=giver.stdout, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
            # If the second one has ended early, the first one can't go on either.
            if giver.stdout is not None:
                giver.stdout.close()
            giver.wait(_TIMEOUT_S)
        except BaseException:
            giver.kill()
            raise
        complaints.seek(0)
        reason = complaints.read()
    failures = [
        (node, said.strip().splitlines() or [f"exit code {code}"], said)
        for node, code, said in (
            (source[0], giver.returncode, reason),
            (target[0], taken.returncode, taken.stderr),
        )
        if code
    ]
    # One that was cut off by the other one says nothing.
    for node, lines, _ in sorted(failures, key=lambda failure: not failure[2].strip()):
        raise NodeError(node.name, lines[-1])
    return taken.stdout


def _command(site: Site, node: Node, work: str) -> list[str]:
    deployment = site.deployment
    return ssh.command(
        node.management_address, deployment.ssh_key, deployment.known_hosts, *_words(work),
        user=node.ssh_user, port=node.ssh_port,
    )  # fmt: skip


def _words(work: str) -> tuple[str, ...]:
    return ("sudo", PROGRAM, work)
