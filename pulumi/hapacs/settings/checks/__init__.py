"""Checks over several fields: mistakes that no field shows by itself, refused before anything is changed.

`groups` (which node serves what, and how many are needed), `networks` (addresses and ports), `storage` (disks and
watermarks), `orthanc` (where it comes from), `callers` (AE titles and other names, who may call), `routing`
(destinations and rules), `replication` (copies at the other site), `monitoring` (who gets which alert), `backup` (where
backups go), `warnings` (allowed, but seldom meant).
"""

from hapacs.settings.checks import (
    backup,
    callers,
    groups,
    monitoring,
    networks,
    orthanc,
    replication,
    routing,
    storage,
)
from hapacs.settings.checks.groups import can_hold
from hapacs.settings.checks.warnings import warnings
from hapacs.settings.models import Settings
from hapacs.settings.partial import UnsoundError
from hapacs.settings.problem import Problem

__all__ = ["can_hold", "check", "warnings"]


def check(settings: Settings) -> list[Problem]:
    """Return all problems over several fields, as far as the fields that they need are sound."""
    problems = [*groups.roles(settings), *storage.target(settings)]
    try:
        sites = [(f"sites.{name}", site) for name, site in settings.sites.items()]
    except UnsoundError:
        sites = []
    for path, site in sites:
        problems += [*groups.of_site(path, site), *networks.of_site(path, site), *storage.of_site(path, site)]
        problems += [*storage.machines(settings.target, path, site), *storage.scrub(path, site)]
        problems += [*orthanc.of_site(path, site), *monitoring.of_site(path, site)]
    problems += [*networks.between_sites(settings), *storage.between_nodes(settings), *callers.of_settings(settings)]
    problems += [*routing.of_settings(settings), *replication.of_settings(settings), *backup.of_settings(settings)]
    return problems
