"""Reads the keys of a site's images again, by a node's own program, `hapacs-node reindex`."""

from __future__ import annotations

from typing import Any

from hapacs.site import node_program
from hapacs.site.access import Site

# A node reads about a hundred images a second; what is done stays done when it is interrupted.
_TIMEOUT_S = 7 * 24 * 3600


def reindex(site: Site) -> dict[str, Any]:
    """Have the first node that answers read the images again, and return its report.

    Raises
    ------
    HapacsError
        When no node does.
    """
    return node_program.first_report(site, ("reindex",), _TIMEOUT_S)
