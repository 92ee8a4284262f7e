"""Deleted studies of a site: they are listed and restored by a node's own program, `hapacs-node study`."""

from __future__ import annotations

import getpass
import json
import re
import shlex
import socket
from typing import Any

from hapacs.errors import HapacsError, UsageError
from hapacs.site.access import HTTPS_PORTS, Node, NodeError, Site
from hapacs.site.collect import collect

_UID = re.compile(r"[0-9.]{1,64}")
_NODE_PROGRAM = "/opt/hapacs/venv/bin/hapacs-node"
# Removals of an older program are read one by one, and the images of a study are stored one by one.
_LIST_TIMEOUT_S, _RESTORE_TIMEOUT_S = 600, 4 * 3600


def deleted(site: Site, since: str | None) -> dict[str, Any]:
    """List the studies of which images were deleted, as the first node that answers reports them.

    Parameters
    ----------
    since
        Only what was deleted since then, ISO 8601 in UTC.
    """
    last: NodeError | None = None
    for node in site.members("pacs"):
        try:
            return _ask(site, node, ("deleted", *(("--since", since) if since else ())), _LIST_TIMEOUT_S)
        except NodeError as error:
            last = error
    raise last or HapacsError(f"{site.name} has no node that keeps images.", "Check `sites` in the settings.")


def restore(site: Site, study: str) -> dict[str, Any]:
    """Have the node that stores now restore the deleted images of a study.

    Raises
    ------
    UsageError
        When it is no UID.
    HapacsError
        When no node stores, or it does not answer.
    """
    if not _UID.fullmatch(study):
        raise UsageError(f"{study!r} is not a UID (at most 64 digits and dots).", "Give the Study Instance UID.")
    node = _storing(site)
    url = f"https://{node.address}:{HTTPS_PORTS['store']}"
    operator = f"{getpass.getuser()}@{socket.gethostname()}"
    return _ask(site, node, ("restore", study, "--store", url, "--operator", operator), _RESTORE_TIMEOUT_S)


def _storing(site: Site) -> Node:
    """Return the node that the balancers chose to store; before anything was stored, one that can."""
    for name in collect(site).writers or [node.name for node in site.members("pacs")]:
        status, _ = site.hapacs(name, "store", "health")
        if status == 200:  # noqa: PLR2004 - HTTP OK
            return site.nodes[name]
    raise HapacsError(f"No node of {site.name} can store now.", "`hapacs status` says why.")


def _ask(site: Site, node: Node, words: tuple[str, ...], timeout_s: float) -> dict[str, Any]:
    """Run the node's program; exit code 1 means that its report names something missing."""
    command = ("sudo", _NODE_PROGRAM, "study", *map(shlex.quote, words), "--json", ";", "test", "$?", "-le", "1")
    printed = site.run(node, command, "", timeout_s)
    try:
        report: dict[str, Any] = json.loads(printed.splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        raise NodeError(node.name, printed or "hapacs-node printed no report; its journal says more") from None
    return {"node": node.name, **report}
