"""The watermarks of a DAS: the one rule that decides whether they fit together.

The controller asks it about a site's settings, the role `hapacs_node` about its variables, and the node about its
configuration file, which somebody may have edited.
"""

from dataclasses import dataclass
from enum import StrEnum


class Misfit(StrEnum):
    """Why watermarks don't fit together."""

    STARTS_TOO_LATE = "eviction starts only after images are already refused"
    NEVER_ENDS = "eviction ends at no more free space than it starts at, so it would never end"


@dataclass(frozen=True)
class Watermarks:
    """Free space of a DAS, in bytes.

    Attributes
    ----------
    refuse_below
        With less free space no image is stored.
    evict_below
        With less free space eviction starts.
    evict_until
        With so much free space eviction ends.
    """

    refuse_below: int
    evict_below: int
    evict_until: int

    def misfits(self) -> list[Misfit]:
        """Return why they don't fit together; empty when they do."""
        found = []
        if self.evict_below <= self.refuse_below:
            found.append(Misfit.STARTS_TOO_LATE)
        if self.evict_until <= self.evict_below:
            found.append(Misfit.NEVER_ENDS)
        return found
