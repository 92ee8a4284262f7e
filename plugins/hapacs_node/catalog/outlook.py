"""One question that says what routing has to do now. On a site where nothing happens it is all that a node asks."""

from dataclasses import dataclass

from hapacs_node.catalog import events, gathering, tasks
from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.tasks import Lane

# Each part ends at its first row.
_LOOK = f"""
select coalesce((select version from hapacs.ruleset), 0),
    exists (select from hapacs.event where {events.CLAIMABLE}),
    exists (select from hapacs.task where {tasks.LAPSED}),
    exists (select from hapacs.gathering where {gathering.QUIET}),
    exists (select from hapacs.gathering where {gathering.OPEN}),
    array({tasks.DUE})
"""  # noqa: S608 - constants


@dataclass(frozen=True)
class Outlook:
    """What there is to do.

    Attributes
    ----------
    version : int
        Of the rules; 0 before any were loaded.
    events : bool
        Whether stored images are to be compared with the rules.
    lapsed : bool
        Whether a lease has ended.
    quiet : bool
        Whether a study or series is complete because no image came.
    gathers : bool
        Whether a study or series is not complete yet.
    lanes : tuple of Lane
        The destinations that have tasks to send.
    """

    version: int
    events: bool
    lapsed: bool
    quiet: bool
    gathers: bool
    lanes: tuple[Lane, ...]


def look(connection: Connection, kind: str, node: str) -> Outlook:
    """Return what there is to do for a node."""
    row = connection.execute(_LOOK, {"kind": kind, "node": node}).fetchone()
    assert row is not None  # noqa: S101 - a query of subqueries has one row
    version, waiting, lapsed, quiet, gathers, names = row
    return Outlook(version, waiting, lapsed, quiet, gathers, tuple(Lane(kind, name) for name in names))
