"""The rule for the watermarks of a DAS.

The controller applies it to a site's settings, the role `hapacs_node` to its variables, and the node to its
configuration file, which an administrator may have edited.
"""

from dataclasses import dataclass
from enum import StrEnum


class Misfit(StrEnum):
    """A contradiction between watermarks."""

    STARTS_TOO_LATE = "eviction starts only after images are already refused"
    NEVER_ENDS = "eviction ends at no more free space than it starts at, so it would never end"


@dataclass(frozen=True)
class Watermarks:
    """Free space of a DAS, in bytes.

    Attributes
    ----------
    refuse_below
        Free space below which stores are refused.
    evict_below
        Free space below which eviction starts.
    evict_until
        Free space at which eviction ends.
    """

    refuse_below: int
    evict_below: int
    evict_until: int

    def misfits(self) -> list[Misfit]:
        """Return the contradictions; empty when there is none."""
        found = []
        if self.evict_below <= self.refuse_below:
            found.append(Misfit.STARTS_TOO_LATE)
        if self.evict_until <= self.evict_below:
            found.append(Misfit.NEVER_ENDS)
        return found
