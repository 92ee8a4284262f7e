"""What the command line prints: steps with their time, errors with what to do next, JSON where a machine reads.

At a terminal, lines are broken at blanks and a table that is too wide becomes a list. Elsewhere no line is broken. A
path, name or number is never broken or shortened.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from hapacs.cli import interrupted

_UNLIMITED = 100_000
_NARROW = 70
"""Columns below which a text gets lines of its own in place of a column."""
_LOG_EVERY_S = 30


class Lines(Console):
    """A console that breaks lines only at blanks, and only where a terminal shows them."""

    @property
    def options(self) -> ConsoleOptions:
        """The terminal's options; without a terminal, no line is too long."""
        return super().options if self.is_terminal else super().options.update_width(_UNLIMITED)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, and leave a word whole that is longer than a line."""
        # Rich breaks no line at all when it must not cut words.
        defaults: dict[str, Any] = {"overflow": "ignore", "crop": False}
        if self.is_terminal:
            objects = tuple(self._broken(one, options) if isinstance(one, str) else one for one in objects)
        super().print(*objects, **(defaults | options))

    def _broken(self, text: str, options: Mapping[str, Any]) -> Text:
        shown = Text.from_markup(text) if options.get("markup", True) else Text(text)
        return Text("\n").join(lines_of(shown, self.width))


def lines_of(text: Text, width: int) -> list[Text]:
    """Break a text at blanks, so that a line is longer than the width only when a single word is."""
    found: list[Text] = []
    for line in text.split("\n", allow_blank=True):
        begins, breaks = 0, []
        for word in re.finditer(r"\S+", line.plain):
            if line.plain[begins : word.start()].strip() and cell_len(line.plain[begins : word.end()]) > width:
                begins = word.start()
                breaks.append(begins)
        found += line.divide(breaks)
    for one in found:
        one.rstrip()
    return found


console = Lines(highlight=False)
errors = Lines(stderr=True, highlight=False)
"""What people read goes to standard error where standard output is for a machine."""


def print_item(head: str, text: str) -> None:
    """Print a short head and a text; at a terminal, further lines of the text stand below its first.

    Parameters
    ----------
    head
        With markup.
    text
        Without.
    """
    if not console.is_terminal:
        console.print(f"{head} {escape(text)}".rstrip())
        return
    indent = cell_len(Text.from_markup(head).plain) + 1
    if narrow := console.width < max(_NARROW, indent + _NARROW // 2):
        indent = 4
    lines = lines_of(Text(text), console.width - indent)
    rest = [" " * indent + escape(line.plain) for line in lines if line.plain]
    first = [head] if narrow or not rest else [f"{head} {rest.pop(0).lstrip()}"]
    console.print("\n".join(first + rest))


def print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their heads, or each row as a list when the terminal is too narrow for the table.

    A column without any value is left out.

    Parameters
    ----------
    title, rows
        With markup.
    heads
        Empty for a table without heads.
    """
    if title:
        console.print(f"[bold]{title}[/]")
    used = [any(column) for column in zip(*rows, strict=True)]
    heads = list(compress(heads, used)) if heads else [""] * sum(used)
    rows = [list(compress(row, used)) for row in rows]
    table = Table(box=None, show_header=any(heads), header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for head in heads:
        table.add_column(head, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    wide = console.options.update_width(_UNLIMITED)
    if Measurement.get(console, wide, table).maximum <= console.options.max_width:
        console.print(table)
        return
    for first, *others in rows:
        if first:
            console.print(f"[bold]{first}[/]" if others else first)
        for head, value in zip(heads[1:], others, strict=True):
            if value:
                # A value stays beside its head.
                console.print(Text.from_markup(f"  [dim]{head}[/] {value}") if head else f"  {value}")


@dataclass
class Steps:
    """Prints the steps of a long command, each with what it is doing now and how long it took.

    Parameters
    ----------
    quiet
        Print nothing on standard output; the times are kept for the JSON.
    """

    quiet: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Do one step."""
        begun = time.monotonic()
        interrupted.running.step = name
        target = errors if self.quiet else console
        if target.is_terminal:
            columns = (
                SpinnerColumn(),
                TextColumn("[bold]{task.description}[/]"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[now]}"),
            )
            with Progress(*columns, console=target, transient=True) as progress:
                task = progress.add_task(name, total=None, now="")
                yield Step(lambda what: progress.update(task, now=escape(what)))
        else:
            # A log gets a line when the step begins, one when it ends, and signs of life between them.
            target.print(f"… {name}")
            yield Step(_seldom(target))
        self.seconds[name] = round(time.monotonic() - begun, 1)
        if not self.quiet:
            console.print(f"[green]✓[/] {name} [dim]{duration(self.seconds[name])}[/]")


def _seldom(target: Console) -> Callable[[str], None]:
    """Print what is being done, but not more than a line in half a minute."""
    begun = printed = time.monotonic()

    def now(what: str) -> None:
        nonlocal printed
        if (at := time.monotonic()) - printed >= _LOG_EVERY_S:
            printed = at
            target.print(f"    {duration(at - begun)}: {escape(what)}")

    return now


@dataclass(frozen=True)
class Step:
    """A step that is being done.

    Parameters
    ----------
    now
        Shows what is being done.
    """

    now: Callable[[str], None]


def duration(seconds: float) -> str:
    """Return seconds as people read them."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"


def print_json(value: Any) -> None:
    """Print one JSON document."""
    json.dump(value, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


def print_error(message: str, hint: str = "") -> None:
    """Print what is wrong, and what to do next."""
    errors.print(f"[red]✗[/] {escape(message)}")
    if hint:
        errors.print(escape(hint))


def print_warning(message: str) -> None:
    """Print something to look at, where the command goes on."""
    errors.print(f"[yellow]![/] {escape(message)}")
