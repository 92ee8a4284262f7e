"""The sites that the option ``--site`` of a command chooses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hapacs.deployment import Deployment
from hapacs.errors import UsageError

if TYPE_CHECKING:
    from hapacs.site.access import Site


def of[T](deployment: str, site: str, found: Mapping[str, T]) -> list[T]:
    """Return what belongs to a site, or to all of them when `site` is empty.

    Raises
    ------
    UsageError
        When there is no such site.
    """
    if site and site not in found:
        raise UsageError(f"{deployment} has no site {site!r}.", f"Give one of: {', '.join(found)}.")
    return [found[site]] if site else list(found.values())


def sites(deployment: str, site: str) -> list[Site]:
    """Return a site of a deployment that is up, or all of them when `site` is empty, the primary one first.

    Raises
    ------
    UsageError
        When there is no such site.
    """
    from hapacs.site import access  # noqa: PLC0415 - its clients are slow to import

    return of(deployment, site, {one.name: one for one in access.sites(Deployment.load(deployment))})
