"""Tables of the copies of an object, and of the events of an instance."""

from typing import Any

from rich.markup import escape
from rich.table import Table

_COLOURS = {"whole": "green", "missing": "yellow"}
# Shown in their own columns, or part of the request.
_SHOWN = {"at", "event", "unit", "sop", "series", "study"}


def table(report: dict[str, Any]) -> Table:
    """Make a table of a report of `Lookup`."""
    title = " ".join(f"{key} {report[key]}" for key in ("instance", "digest") if report.get(key))
    shown = Table("where", "state", "particulars", title=title, title_justify="left", box=None)
    if received := report.get("received"):
        by = received["calling_title"] or received["protocol"]
        shown.add_row("received", "", f"{received['at']} from {by} via {received['via']}, study {report['study']}")
    for row in report["catalog"]:
        state = "removed" if row["tombstoned_at"] else "acknowledged" if row["acknowledged"] else "not in the index"
        shown.add_row(
            "catalog", state, f"{row['uuid']} {row['size']} bytes, stored {row['stored_at']} by {row['node']}"
        )
    if not report["catalog"]:
        shown.add_row("catalog", "[red]missing[/]", f"attachment {report['uuid']}")
    for place in ("das", "cas"):
        copy = report.get(place)
        if copy is None:
            continue
        lock = f"{copy['retention_mode']} lock until {copy['retained_until']}" if copy["retention_mode"] else ""
        where = f"{place} {report['node']}" if place == "das" else place
        state = f"[{_COLOURS.get(copy['state'], 'red')}]{copy['state']}[/]"
        shown.add_row(where, state, escape(f"{copy['detail']} {lock}".strip()))
    return shown


def events(found: list[dict[str, str]]) -> Table:
    """Make a table of events of the journal."""
    shown = Table("at", "event", "service", "particulars", title="journal", title_justify="left", box=None)
    for event in found:
        particulars = " ".join(f"{name}={value}" for name, value in event.items() if name not in _SHOWN)
        shown.add_row(event["at"], event.get("event", ""), event["unit"], escape(particulars))
    return shown
