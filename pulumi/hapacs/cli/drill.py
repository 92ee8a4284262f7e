"""``hapacs drill``: faults on a site under load, with deadlines and a check of every acknowledged image."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hapacs.cli import completion, interrupted, silencing
from hapacs.cli.output import Steps, console, print_item, print_json, print_table, print_warning
from hapacs.cli.parameters import Json, Name
from hapacs.deployment import Deployment
from hapacs.errors import ExitCode, RefusedError, UsageError

if TYPE_CHECKING:
    from hapacs.drills.model import Drill, Result

app = typer.Typer(no_args_is_help=True, help="Break a site on purpose while it stores, and check every image.")

_RED = "[red]✗[/]"
_LONG_S = 3600


@app.command("list")
def list_drills(name: Name = "lab", json: Json = False) -> None:
    """List the drills that can run on a deployment, with their deadlines."""
    from hapacs.drills import allowed, table  # noqa: PLC0415

    drills = allowed.possible(table.DRILLS, Deployment.load(name).settings)
    if json:
        print_json({
            "drills": [
                {"name": one.name, "sentence": one.sentence, "deadline_s": one.deadline_s, "production": one.production}
                for one in drills
            ]
        })  # fmt: skip
        return
    rows = [(one.name, f"{one.deadline_s} s", "yes" if one.production else "", one.sentence) for one in drills]
    print_table("", ("drill", "deadline", "production", "what happens"), rows)


@app.command()
def run(  # noqa: PLR0917 - typer calls it
    drills: Annotated[
        list[str] | None, typer.Argument(metavar="DRILL...", autocompletion=completion.drill_names)
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            "--deployment",
            metavar="DEPLOYMENT",
            callback=interrupted.remember,
            autocompletion=completion.deployment_names,
            help="Directory below inventories/.",
        ),
    ] = "lab",
    every: Annotated[bool, typer.Option("--all", help="Run all drills, in an order that the seed decides.")] = False,
    long: Annotated[
        bool, typer.Option("--long", help="With --all: repeat them, each time in another order, for an hour.")
    ] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the order. [default: a random one]")] = None,
    meant: Annotated[bool, typer.Option("--i-mean-it", help="Needed where patients depend on the site.")] = False,
    json: Json = False,
) -> None:
    """Run drills one after the other. Ends with 0 only when all are ok and none is void.

    Example: hapacs drill run storing-killed das-byte-flipped --deployment lab
    """  # fmt: skip
    from hapacs.drills import allowed, table  # noqa: PLC0415

    if every == bool(drills) or (long and not every):
        raise UsageError("Name drills, or give --all, alone or with --long.", "`hapacs drill list` lists them.")
    deployment = Deployment.load(name)
    settings = deployment.settings
    chosen = allowed.possible(table.DRILLS, settings) if every else table.named(drills or [])
    seed = secrets.randbelow(2**32) if seed is None else seed
    deployment.require_up()
    if reasons := allowed.refusals(chosen, settings, datetime.now(UTC), meant=meant):
        raise RefusedError("\n".join(["Refused, nothing was changed:", *(f"- {one}" for one in reasons)]))
    results = []
    with deployment.alone():
        for result in _run(deployment, _ordered(chosen, seed, long=long) if every else chosen, seed, quiet=json):
            results.append(result)
            if not json:
                _show(result)
    if json:
        print_json({"drills": [result.summary() for result in results], "seed": seed})
    if not all(result.ok for result in results):
        raise typer.Exit(ExitCode.UNHEALTHY)


@app.command()
def report(name: Name = "lab", json: Json = False) -> None:
    """Write a page over all runs of a deployment, and print the last run of each drill."""
    from hapacs.drills import report as reports  # noqa: PLC0415

    page, runs = reports.write_overview(_directory(Deployment.load(name)))
    if not runs:
        raise RefusedError(f"No drill has run on {name}.", "`hapacs drill run` runs one.")
    last = {run["name"]: run for run in reversed(runs)}
    if json:
        print_json({"page": str(page), "drills": list(last.values())})
        return
    rows = [
        (one["name"], "void" if one["void"] else "ok" if one["ok"] else "failed", f"{one['outage_s']} s",
         f"{one['deadline_s']} s", str(one["acknowledged"]), str(one["lost"]), one["at"])
        for one in last.values()
    ]  # fmt: skip
    print_table("", ("drill", "verdict", "outage", "deadline", "acknowledged", "lost", "when"), rows)
    console.print(f"All runs: {page}")


@app.command()
def forbid(name: Name = "lab") -> None:
    """Undo the fault that is there, and refuse every further one on every node until `allow`."""
    # Without the lock: a drill that runs is what it is for.
    _lever(name, "forbid", "No drill runs on {name} until `hapacs drill allow {name}`.")


@app.command()
def allow(name: Name = "lab") -> None:
    """Allow drills again."""
    _lever(name, "allow", "Drills may run on {name} again.")


def _lever(name: str, verb: str, sentence: str) -> None:
    from hapacs import playbook  # noqa: PLC0415 - yaml is slow to import

    deployment = Deployment.load(name)
    deployment.require_up()
    steps = Steps()
    with steps.step(f"drill {verb}") as step:
        playbook.run(
            f"drill_{verb}", inventory=deployment.directory, logs=deployment.logs,
            environment=deployment.environment(), on_task=step.now,
        )  # fmt: skip
    console.print(sentence.format(name=name))


def _ordered(drills: list[Drill], seed: int, *, long: bool) -> Iterator[Drill]:
    """Yield the drills in the order of the seed; with `long` again and again until no further one begins."""
    chance = random.Random(seed)  # noqa: S311 - an order, not a secret
    end = time.monotonic() + _LONG_S
    again = True
    while again:
        for drill in chance.sample(drills, len(drills)):
            if long and time.monotonic() >= end:
                return
            yield drill
        again = long


def _directory(deployment: Deployment) -> Path:
    return deployment.state / "drills"


def _run(deployment: Deployment, drills: Iterable[Drill], seed: int, *, quiet: bool) -> Iterator[Result]:
    from hapacs.drills import guardian, noted, versions  # noqa: PLC0415
    from hapacs.drills import report as reports  # noqa: PLC0415
    from hapacs.drills.load import SiteLoad  # noqa: PLC0415 - its clients are slow to import
    from hapacs.drills.model import Result  # noqa: PLC0415
    from hapacs.drills.run import Conductor  # noqa: PLC0415
    from hapacs.drills.scene import SiteScene  # noqa: PLC0415
    from hapacs.site.access import sites  # noqa: PLC0415

    site = sites(deployment)[0]
    # Probes and the check need them: without them a fault would be injected for nothing.
    _ = site.secrets
    steps, first = Steps(quiet=quiet), True
    for drill in drills:
        directory = _directory(deployment) / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{drill.name}"
        directory.mkdir(mode=0o700, parents=True)

        @contextmanager
        def watching(places: Sequence[str], directory: Path = directory) -> Iterator[None]:
            with guardian.watching(deployment, directory, places):
                yield

        with steps.step(drill.name) as step:
            conductor = Conductor(
                SiteScene(site, step.now), watching,
                lambda drill, prepared: silencing.silenced_drill(site, drill, prepared, print_warning),
                stops=not deployment.settings.target.expendable, on_step=step.now,
            )  # fmt: skip
            try:
                result = conductor.conduct(drill, SiteLoad(site, directory), seed)
            except RefusedError as error:
                if first:
                    raise
                # A drill before it has left the site broken: the others may still find it whole.
                result = Result(drill, time.time(), seed, void=True, reasons=[f"Void: {error.message}"])
            first = False
        result.versions = versions.of(deployment)
        reports.write(result, directory)
        _, runs = reports.write_overview(_directory(deployment))
        for problem in noted.note(site, runs):
            print_warning(problem)
        yield result


def _show(result: Result) -> None:
    kept = result.kept
    sign = "[yellow]void[/]" if result.void else "[green]✓[/]" if result.ok else _RED
    print_item(
        f"{sign} {result.drill.name}",
        f"{result.outage_s:.1f} s without a Success (deadline {result.drill.deadline_s} s); {kept.acknowledged} "
        f"acknowledged, {kept.lost} lost, {kept.corrupted} corrupted, {kept.duplicated} duplicated.",
    )
    for reason in result.reasons:
        print_item("  [dim]-[/]", reason)
    print_item("  [dim]report[/]", result.report)
