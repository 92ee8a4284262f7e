"""What a site knows of its second site. It travels with the rules to all nodes, see `hapacs_node.catalog.ruleset`."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from hapacs_node.routing import window
from hapacs_node.routing.destination import Parallel, WebDestination
from hapacs_node.routing.fields import Endpoint, Name, Part, Window
from hapacs_node.routing.model import Routing

Rate = Annotated[float, Field(gt=0, le=10000, allow_inf_nan=False)]


class SecondSite(Part):
    """Where copies go.

    Attributes
    ----------
    name
        Of the site in the settings.
    role
        Of the site that sends.
    url
        Where its balancer takes copies.
    connections
        Requests at the same time, over all nodes.
    mb_per_s
        Limit of the rate, megabytes in a second, over all connections. Not given: none.
    limited
        When the limit holds, in UTC. Not given: always.
    past
        Whether images from before are copied too, the newest first.
    timeout_s
        Limit for the connection, and for each answer. To answer, the second site stores or reads all images of a
        request.
    """

    name: Name
    role: Literal["primary", "dr"] = "primary"
    url: Endpoint
    connections: Parallel = 2
    mb_per_s: Rate | None = None
    limited: Window | None = None
    past: bool = True
    timeout_s: Annotated[int, Field(strict=True, ge=1, le=600)] = 180

    @property
    def parallel(self) -> int:
        """How many workers may send at the same time, over all nodes."""
        return self.connections

    @property
    def window(self) -> None:
        """Copies are sent at any time."""
        return

    @property
    def entry(self) -> WebDestination:
        """The balancer of the second site."""
        return WebDestination(kind="dicomweb", url=self.url, timeout_s=self.timeout_s)

    @property
    def store(self) -> WebDestination:
        """Its STOW-RS."""
        return WebDestination(kind="dicomweb", url=f"{self.url}/dicom-web", timeout_s=self.timeout_s)

    def rate(self, now: datetime) -> float | None:
        """Return the bytes in a second that one connection may send now; None for no limit."""
        if self.mb_per_s is None or (self.limited is not None and not window.is_open(self.limited, now)):
            return None
        return self.mb_per_s * 1e6 / self.connections


class Outgoing(Routing):
    """All that leaves a site: by rules, and to the second site.

    Attributes
    ----------
    second_site
        Not given: nothing is copied.
    """

    second_site: SecondSite | None = None
