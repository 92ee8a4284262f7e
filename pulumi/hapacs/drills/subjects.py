"""Chooses the nodes that a fault may hit."""

from __future__ import annotations

from collections.abc import Callable

from hapacs.site.running import RunningSite


def _spare(site: RunningSite, group: str) -> list[str]:
    """Return the nodes of a group, those with the fewest leads first."""
    leads = [*site.writers, *site.database_leaders, *site.holders, *site.archive_leaders]
    return sorted(site.members.get(group, ()), key=leads.count)


_CHOICE: dict[str, Callable[[RunningSite], list[str]]] = {
    "storing": lambda site: site.writers,
    "database": lambda site: site.database_leaders,
    "address": lambda site: site.holders,
    "archive": lambda site: _spare(site, "cas"),
    "archive_leader": lambda site: site.archive_leaders,
    "etcd_member": lambda site: [name for name in _spare(site, "etcd") if name != site.etcd_leader],
    "etcd_leader": lambda site: [site.etcd_leader] if site.etcd_leader else [],
    "spare": lambda site: _spare(site, "pacs"),
    "site": lambda site: site.names,
}


def nodes(site: RunningSite, subject: str) -> list[str]:
    """Return the nodes that a fault on a subject may hit, the best one first.

    Parameters
    ----------
    subject
        ``storing``, ``database``, ``address``, ``archive_leader`` and ``etcd_leader`` are the nodes in that office;
        ``archive`` and ``spare`` are all nodes with the archive or with an Orthanc, and ``etcd_member`` those with an
        etcd that does not lead: those without an office first. A fault on ``site`` hits all nodes.

    Raises
    ------
    ValueError
        When there is no such subject.
    """
    if subject not in _CHOICE:
        raise ValueError(f"there is no subject {subject!r}; there are {', '.join(_CHOICE)}")
    return _CHOICE[subject](site)
