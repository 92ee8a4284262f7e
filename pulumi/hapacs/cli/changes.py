"""How `hapacs plan` and `hapacs up` show what differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hapacs import changes
from hapacs.changes import Changes
from hapacs.cli.output import console

_COLOURS = {"create": "green", "delete": "red"}
_MACHINES = "Machines"


def print_changes(found: Changes) -> None:
    """Print changes of machines and of settings, and what happens to data; nothing where nothing changes."""
    if found.machines:
        by_name = sorted(found.machines, key=lambda change: change.name)
        rows = [(change.operation, change.kind, change.name, change.difference) for change in by_name]
        print_rows(_MACHINES, rows)
    if found.settings:
        print_rows("Settings, compared with the last `hapacs up`", changes.rows(found.settings))
    if found.consequences:
        print_rows("Data", [(sentence,) for sentence in found.consequences])


def machines_document(found: Changes) -> list[dict[str, Any]]:
    """Return the changes of machines as JSON has them."""
    return [change.__dict__ for change in found.machines]


def settings_document(found: Changes) -> list[dict[str, Any]]:
    """Return the changes of settings as JSON has them."""
    return [
        {"path": ".".join(change.path), "before": change.before, "after": change.after}
        for change in found.settings or ()
    ]


def print_rows(title: str, table: Sequence[tuple[str, ...]]) -> None:
    """Print rows in columns; the last one is as long as it is."""
    console.print(f"[bold]{title}[/]")
    used = [any(column) for column in zip(*table, strict=True)]
    table = [tuple(cell for cell, kept in zip(row, used, strict=True) if kept) for row in table]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]) - 1)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)]
        style = _COLOURS.get(row[0].rpartition("-")[0] or row[0], "yellow") if title == _MACHINES else None
        console.print(f"  {'  '.join(cells)}".rstrip(), soft_wrap=True, markup=False, style=style)
