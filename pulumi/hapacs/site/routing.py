"""The routing of a site that is up: a node's own program, `hapacs-node route`, is asked."""

from __future__ import annotations

import shlex
from typing import Any

from hapacs.site import node_program
from hapacs.site.access import NodeError, Site

_TIMEOUT_S = 60
# A destination may let an association wait for as long as its settings say.
_PING_TIMEOUT_S = 700


def status(site: Site) -> dict[str, Any]:
    """Return what waits for each destination, as the first node that answers reports it."""
    return node_program.first_report(site, ("route", "status"), _TIMEOUT_S)


def ping(site: Site, destination: str) -> dict[str, str]:
    """Call a destination from every node that may send to it; return the failure by node, empty where it answers."""
    # As the service, because root may write to other folders.
    command = (
        "sudo",
        "runuser",
        "--user",
        "orthanc",
        "--",
        node_program.PROGRAM,
        "route",
        "ping",
        shlex.quote(destination),
    )
    found = {}
    for node in site.members("pacs"):
        try:
            site.run(node, command, "", _PING_TIMEOUT_S)
        except NodeError as error:
            found[node.name] = error.reason
        else:
            found[node.name] = ""
    return found
