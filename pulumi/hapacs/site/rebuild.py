"""Index and catalog of a site from its archive, by a node's own program, `hapacs-node rebuild`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hapacs.errors import HapacsError
from hapacs.site import node_program
from hapacs.site.access import Site
from hapacs.site.study import storing_url
from hapacs_node import background

# Ten million images take days; what is done stays done when it is interrupted.
# poll(2) takes less than 25 days.
_TIMEOUT_S = 20 * 24 * 3600
_LOOK_EVERY_S, _LOOK_TIMEOUT_S = 15, 60


def rebuild(site: Site, now: Callable[[str], None]) -> dict[str, Any]:
    """Have the node that stores now store every image of the archive again, and return its report.

    Parameters
    ----------
    now
        Shows how far it is.

    Raises
    ------
    HapacsError
        When no node stores, or it does not answer.
    """
    node, url = storing_url(site)

    def follow() -> None:
        # A look that fails says nothing about the run.
        with suppress(HapacsError):
            seen = node_program.report(site, node, ("rebuild", "--status"), _LOOK_TIMEOUT_S)
            now(f"{seen['done']:,} of {seen['objects']:,} archive objects read")

    with background.repeated(follow, _LOOK_EVERY_S, "progress"):
        return node_program.report(site, node, ("rebuild", "--from-archive", "--store", url), _TIMEOUT_S)
