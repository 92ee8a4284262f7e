"""Deleted studies of a site: they are listed and restored by a node's own program, `hapacs-node study`."""

from __future__ import annotations

import re
from typing import Any

from hapacs.errors import HapacsError, UsageError
from hapacs.site import node_program
from hapacs.site.access import HTTPS_PORTS, Node, Site
from hapacs.site.collect import collect

_UID = re.compile(r"[0-9.]{1,64}")
# Removals of an older program are read one by one, and the images of a study are stored one by one.
_LIST_TIMEOUT_S, _RESTORE_TIMEOUT_S = 600, 4 * 3600


def deleted(site: Site, since: str | None) -> dict[str, Any]:
    """List the studies of which images were deleted, as the first node that answers reports them.

    Parameters
    ----------
    since
        Only what was deleted since then, ISO 8601 in UTC.
    """
    words = ("study", "deleted", *(("--since", since) if since else ()))
    return node_program.first_report(site, words, _LIST_TIMEOUT_S)


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
    node, url = storing_url(site)
    operator = node_program.operator()
    words = ("study", "restore", study, "--store", url, "--operator", operator)
    return node_program.report(site, node, words, _RESTORE_TIMEOUT_S)


def storing_url(site: Site) -> tuple[Node, str]:
    """Return the node that the balancers chose to store, or else one that can, and the URL of its Orthanc.

    Raises
    ------
    HapacsError
        When no node can store.
    """
    for name in collect(site).writers or [node.name for node in site.members("pacs")]:
        status, _ = site.hapacs(name, "store", "health")
        if status == 200:  # noqa: PLR2004 - HTTP OK
            node = site.nodes[name]
            return node, f"https://{node.address}:{HTTPS_PORTS['store']}"
    raise HapacsError(f"No node of {site.name} can store now.", "`hapacs status` says why.")
