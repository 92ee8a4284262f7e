"""The routing of a site that is up: a node's own program, `hapacs-node route`, is asked."""

from __future__ import annotations

import json
import shlex
from typing import Any

from hapacs.errors import HapacsError
from hapacs.site.access import NodeError, Site

_NODE_PROGRAM = "/opt/hapacs/venv/bin/hapacs-node"
_TIMEOUT_S = 60
# A destination may let an association wait for as long as its settings say.
_PING_TIMEOUT_S = 700


def status(site: Site) -> dict[str, Any]:
    """Return what waits for each destination, as the first node that answers reports it."""
    command = ("sudo", _NODE_PROGRAM, "route", "status", "--json", ";", "test", "$?", "-le", "1")
    last: NodeError | None = None
    for node in site.members("pacs"):
        try:
            printed = site.run(node, command, "", _TIMEOUT_S)
            report: dict[str, Any] = json.loads(printed.splitlines()[-1])
        except NodeError as error:
            last = error
        except (IndexError, json.JSONDecodeError):
            last = NodeError(node.name, printed or "hapacs-node printed no report; its journal says more")
        else:
            return {"node": node.name, **report}
    raise last or HapacsError(f"{site.name} has no node that keeps images.", "Check `sites` in the settings.")


def ping(site: Site, destination: str) -> dict[str, str]:
    """Send a C-ECHO from every node that may send; return the failure by node, empty where it is answered."""
    command = ("sudo", _NODE_PROGRAM, "route", "ping", shlex.quote(destination))
    found = {}
    for node in site.members("pacs"):
        try:
            site.run(node, command, "", _PING_TIMEOUT_S)
        except NodeError as error:
            found[node.name] = error.reason
        else:
            found[node.name] = ""
    return found
