"""Refuses images of callers early while the other site leads; the statement that stores them refuses them for good.

Without it their bytes would be in the archive, locked, before they are refused.
"""

from dataclasses import dataclass, field

from hapacs_node import log
from hapacs_node.catalog import site
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.errors import FencedError

_LOG = log.get("fence")


@dataclass
class Fence:
    """What the catalog said last of this site's fence.

    Attributes
    ----------
    why : str or None
        Why images of callers are not stored; None when they are.
    """

    why: str | None = field(default=None, init=False)

    def probe(self, catalog: Catalog, node: str, service: str) -> str:
        """Write a heartbeat, and read whether the site is fenced; see `Catalog.beat`."""
        why = catalog.beat(node, service)
        if why != self.why:
            write = _LOG.info if why is None else _LOG.error
            write(log.line("fence_changed", fenced=why is not None, reason=why))
        self.why = why
        return "the leader accepts writes" if why is None else f"the leader accepts writes; {why}"

    def check(self, caller: str | None) -> None:
        """Return when an image of a caller may be stored.

        Raises
        ------
        FencedError
            When the other site leads.
        """
        if self.why is not None and not site.through(caller):
            raise FencedError(self.why)
