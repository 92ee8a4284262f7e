"""How `hapacs plan` and `hapacs up` show what differs."""

from __future__ import annotations

from typing import Any

from rich.markup import escape

from hapacs import changes
from hapacs.changes import Changes
from hapacs.cli.output import print_table

_COLOURS = {"create": "green", "delete": "red"}


def print_changes(found: Changes) -> None:
    """Print changes of machines and of settings, and what happens to data; nothing where nothing changes."""
    if found.machines:
        by_name = sorted(found.machines, key=lambda change: change.name)
        rows = [
            (_coloured(change.operation), change.kind, change.name, escape(change.difference)) for change in by_name
        ]
        print_table("Machines", (), rows)
    if found.settings:
        settings = [tuple(map(escape, row)) for row in changes.rows(found.settings)]
        print_table("Settings, compared with the last `hapacs up`", (), settings)
    if found.consequences:
        print_table("Data", (), [(escape(sentence),) for sentence in found.consequences])


def machines_document(found: Changes) -> list[dict[str, Any]]:
    """Return the changes of machines as JSON has them."""
    return [change.__dict__ for change in found.machines]


def settings_document(found: Changes) -> list[dict[str, Any]]:
    """Return the changes of settings as JSON has them."""
    return [
        {"path": ".".join(change.path), "before": change.before, "after": change.after}
        for change in found.settings or ()
    ]


def _coloured(operation: str) -> str:
    return f"[{_COLOURS.get(operation.rpartition('-')[0] or operation, 'yellow')}]{operation}[/]"
