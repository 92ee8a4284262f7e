# SPDX-License-Identifier: AGPL-3.0-or-later
"""The filter that judges the watermarks of a DAS, by the rule that settings and nodes have as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hapacs_node.watermarks import Watermarks

if TYPE_CHECKING:
    from collections.abc import Callable


def watermark_problems(refuse_below: int, evict_below: int, evict_until: int) -> list[str]:
    """Return why watermarks, each a number of free bytes, don't fit together; empty when they do."""
    return [str(misfit) for misfit in Watermarks(int(refuse_below), int(evict_below), int(evict_until)).misfits()]


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"watermark_problems": watermark_problems}
