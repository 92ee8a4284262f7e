"""Checks of the place to which backups of the database go."""

from collections.abc import Iterator

from hapacs.settings.models import Settings, Site
from hapacs.settings.problem import Problem, each


@each
def of_settings(settings: Settings) -> Iterator[Problem]:
    """Yield the problems of the backups of all sites."""
    for name in settings.sites:
        yield from _host(settings, name, settings.sites[name])


@each
def _host(settings: Settings, name: str, site: Site) -> Iterator[Problem]:
    if site.backup is None:
        return
    path, host = f"sites.{name}.backup.host", site.backup.host
    if host in site.nodes:
        yield Problem(path, f"{host} belongs to this site and would be lost with it; name a node of another site")
        return
    others = [other for key, other in settings.sites.items() if key != name]
    if not any(host in other.nodes for other in others):
        yield Problem(path, f"unknown node {host}; name a database node of another site")
    elif not any(host in other.members("postgres") for other in others):
        yield Problem(path, f"{host} has no PostgreSQL to try a restore with; name a database node of another site")
