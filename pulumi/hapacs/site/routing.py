"""The routing of a site that is up: a node's own program, `hapacs-node route`, is asked."""

from __future__ import annotations

import json
import shlex
from typing import Any

from hapacs.site import node_program
from hapacs.site.access import NodeError, Site
from hapacs_node.routing.model import Routing

_TIMEOUT_S = 60
# A destination may let an association wait for as long as its settings say.
_PING_TIMEOUT_S = 700


def status(site: Site) -> dict[str, Any]:
    """Return what waits for each destination, as the first node that answers reports it."""
    return node_program.first_report(site, ("route", "status"), _TIMEOUT_S)


def replay(site: Site, routing: Routing, since_s: int, limit_s: int) -> dict[str, Any]:
    """Return what rules would have sent of past images, as the first node that answers reports it."""
    words = ("route", "replay", "/dev/stdin", "--since-s", str(since_s), "--limit-s", str(limit_s))
    rules = json.dumps(routing.model_dump(mode="json", exclude_defaults=True))
    return node_program.first_report(site, words, limit_s + _TIMEOUT_S, rules)


def ping(site: Site, destination: str, *, image: bool = False) -> dict[str, str]:
    """Call a destination from every node that may send to it; return the failure by node, empty where it answers.

    Parameters
    ----------
    image
        Whether each node also sends a test image. It is the same one each time.
    """
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
        *(("--image",) if image else ()),
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
