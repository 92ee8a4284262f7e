"""What the command line prints: steps with their time, errors with what to do next, JSON where a machine reads."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hapacs.cli import interrupted

# What people read goes to standard error where standard output is for a machine.
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


_LOG_EVERY_S = 30


@dataclass
class Steps:
    """Prints the steps of a long command, each with what it is doing now and how long it took.

    Parameters
    ----------
    quiet
        Say nothing on standard output; the times are kept for the JSON.
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
                yield Step(lambda what: progress.update(task, now=escape(what[:100])))
        else:
            # A log gets a line when the step begins, one when it ends, and signs of life between them.
            target.print(f"… {name}")
            yield Step(_seldom(target))
        self.seconds[name] = round(time.monotonic() - begun, 1)
        if not self.quiet:
            console.print(f"[green]✓[/] {name} [dim]{duration(self.seconds[name])}[/]")


def _seldom(target: Console) -> Callable[[str], None]:
    """Print what is being done, but not more than a line in half a minute."""
    begun = told = time.monotonic()

    def now(what: str) -> None:
        nonlocal told
        if (at := time.monotonic()) - told >= _LOG_EVERY_S:
            told = at
            target.print(f"    {duration(at - begun)}: {escape(what[:100])}", soft_wrap=True)

    return now


@dataclass(frozen=True)
class Step:
    """A step that is being done.

    Parameters
    ----------
    now
        Says what is being done.
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
    errors.print(f"[red]✗[/] {escape(message)}", soft_wrap=True)
    if hint:
        errors.print(escape(hint), soft_wrap=True)


def print_warning(message: str) -> None:
    """Print something to look at, where the command goes on."""
    errors.print(f"[yellow]![/] {escape(message)}", soft_wrap=True)
