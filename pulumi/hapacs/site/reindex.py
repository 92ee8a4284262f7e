"""Reads the keys of a site's images again, by a node's own program, `hapacs-node reindex`."""

from __future__ import annotations

import json
from typing import Any

from hapacs.errors import HapacsError
from hapacs.site.access import NodeError, Site

_COMMAND = ("sudo", "/opt/hapacs/venv/bin/hapacs-node", "reindex", "--json", ";", "test", "$?", "-le", "1")
# A node reads about a hundred images a second; what is done stays done when it is interrupted.
_TIMEOUT_S = 7 * 24 * 3600


def reindex(site: Site) -> dict[str, Any]:
    """Have the first node that answers read the images again, and return its report.

    Raises
    ------
    HapacsError
        When no node does.
    """
    last: NodeError | None = None
    for node in site.members("pacs"):
        try:
            printed = site.run(node, _COMMAND, "", _TIMEOUT_S)
            report: dict[str, Any] = json.loads(printed.splitlines()[-1])
        except NodeError as error:
            last = error
        except (IndexError, json.JSONDecodeError):
            last = NodeError(node.name, printed or "hapacs-node printed no report; its journal says more")
        else:
            return {"node": node.name, **report}
    raise last or HapacsError(f"{site.name} has no node that keeps images.", "Check `sites` in the settings.")
