"""Filter for the playbooks of drills; `hapacs.drills.subjects` chooses for it."""

from __future__ import annotations

from typing import Any

from hapacs.drills import subjects
from hapacs.site.running import RunningSite


def drill_nodes(site: dict[str, Any], subject: str) -> list[str]:
    """Return the nodes that a fault on this subject may hit, the best one first."""
    return subjects.nodes(RunningSite.parse(site), subject)


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        """Return the filter by its name."""
        return {"drill_nodes": drill_nodes}
