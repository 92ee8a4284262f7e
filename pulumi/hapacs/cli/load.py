"""``hapacs load``: store images with a ledger, and prove that none that was acknowledged is lost."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hapacs.cli.output import Steps, console, print_item, print_json, print_table
from hapacs.cli.parameters import Json, Name
from hapacs.deployment import Deployment
from hapacs.errors import ExitCode, RefusedError, UsageError

if TYPE_CHECKING:
    from hapacs.load.check import Verdict
    from hapacs.load.ledger import Ledger
    from hapacs.load.plan import Plan
    from hapacs.site.access import Site

app = typer.Typer(no_args_is_help=True, help="Store images with a ledger, and check that none is lost.")

_POLL_S = 0.2
_SHOWN = 20

LedgerFile = Annotated[
    Path, typer.Option("--ledger", dir_okay=False, help="SQLite file of what was sent and how it was answered.")
]


@app.command()
def run(  # noqa: PLR0917 - typer calls it
    ledger: LedgerFile,
    name: Name = "lab",
    associations: Annotated[int, typer.Option(min=0, max=32, help="Concurrent associations (C-STORE).")] = 2,
    stow: Annotated[int, typer.Option(min=0, max=32, help="Concurrent STOW-RS clients.")] = 0,
    mix: Annotated[
        str | None,
        typer.Option(
            help="Kinds of made images (ct, cr, us, mr, sr), each with its share: ct=80,cr=20. All by default."
        ),
    ] = None,
    files: Annotated[
        Path | None,
        typer.Option(file_okay=False, exists=True, help="Send the DICOM files of this directory, once each, instead."),
    ] = None,
    images: Annotated[int, typer.Option(min=1, max=1_000_000, help="Images to send.")] = 200,
    seconds: Annotated[int, typer.Option(min=1, max=86_400, help="Time after which no further image is sent.")] = 600,
    timeout: Annotated[int, typer.Option(min=1, max=600, help="Seconds that a sender waits for an answer.")] = 60,
    i_mean_it: Annotated[
        bool, typer.Option("--i-mean-it", help="Store at a deployment that is not a lab; its archive keeps the bytes.")
    ] = False,
    json: Json = False,
) -> None:
    """Store images as modalities do, each until it is acknowledged, and write a ledger.

    Example: hapacs load run lab --ledger load.sqlite --associations 4 --stow 2 --images 2000
    """
    from hapacs.load import mix as sources  # noqa: PLC0415 - its clients are slow to import
    from hapacs.load.ledger import Ledger  # noqa: PLC0415
    from hapacs.load.plan import Plan  # noqa: PLC0415

    if not associations + stow:
        raise UsageError("There is nothing to send with: --associations and --stow are 0.", "Give one of them.")
    deployment = Deployment.load(name)
    if not (deployment.settings.target.expendable or i_mean_it):
        raise RefusedError(
            f"{name} is not a lab: its archive keeps the bytes of this load until their lock ends.",
            "With --i-mean-it they are stored all the same; `hapacs load remove` takes them out of the index.",
        )
    found = sources.Files.below(files) if files else None
    plan = Plan(associations, stow, sources.parse(mix or sources.DEFAULT), found, images, timeout_s=timeout)
    for skipped in found.skipped if found else ():
        if not json:
            print_item("[yellow]![/]", f"{skipped.path} is not sent: {skipped.reason}")
    with closing(Ledger(ledger)) as kept:
        document = _send(_site(deployment), kept, plan, seconds, quiet=json)
    if json:
        print_json(document)
    else:
        _print_run(document, name, ledger)
    if document["refused"] or document["unknown"] or not document["acknowledged"]:
        raise typer.Exit(ExitCode.UNHEALTHY)


@app.command()
def check(ledger: LedgerFile, name: Name = "lab", json: Json = False) -> None:
    """Prove that every acknowledged image of a ledger is kept: once, with equal bytes, archived and locked.

    Example: hapacs load check lab --ledger load.sqlite
    """
    from hapacs.load.check import check as examine  # noqa: PLC0415
    from hapacs.load.ledger import Ledger  # noqa: PLC0415

    if not ledger.exists():
        raise UsageError(f"There is no ledger {ledger}.", "`hapacs load run` writes one.")
    deployment = Deployment.load(name)
    steps = Steps(quiet=json)
    with closing(Ledger(ledger)) as kept, steps.step("Check every image of the ledger") as step:
        total = sum(kept.counts().values())
        verdict = examine(_site(deployment), kept, on_progress=lambda done: step.now(f"{done:,} of {total:,} images"))
    if json:
        print_json({**verdict.document(), "seconds": sum(steps.seconds.values())})
    else:
        _print_verdict(verdict)
    if not verdict.ok:
        raise typer.Exit(ExitCode.UNHEALTHY)


@app.command()
def remove(name: Name = "lab", json: Json = False) -> None:
    """Remove the images of all loads from the index; the archive keeps their bytes until the lock ends."""
    from hapacs.dicom import marks  # noqa: PLC0415
    from hapacs.site.marked import remove as remove_marked  # noqa: PLC0415

    steps = Steps(quiet=json)
    with steps.step("Remove the images of loads from the index"):
        images = remove_marked(_site(Deployment.load(name)), marks.LOAD)
    if json:
        print_json({"removed": images})
    else:
        console.print(f"{images} images of patients that begin with {marks.LOAD} were removed from the index.")


def _site(deployment: Deployment) -> Site:
    from hapacs.site.access import sites  # noqa: PLC0415

    return sites(deployment)[0]


def _send(site: Site, ledger: Ledger, plan: Plan, seconds: float, *, quiet: bool) -> dict[str, Any]:
    """Send until the images are done or the time is over, and describe the run for JSON."""
    from hapacs.load.plan import sender  # noqa: PLC0415

    steps = Steps(quiet=quiet)
    begun = time.time()
    with steps.step("Store images") as step, sender(site, ledger, plan) as sending:
        while sending.running and time.time() - begun < seconds:
            time.sleep(_POLL_S)
            step.now(f"{ledger.acknowledged(begun):,} acknowledged")
    ended = time.time()
    acknowledged = ledger.acknowledged(begun)
    return {
        **{str(outcome): count for outcome, count in ledger.counts().items()},
        "acknowledged_now": acknowledged,
        "seconds": round(ended - begun, 1),
        "per_s": round(acknowledged / (ended - begun), 2),
        "longest_gap_s": round(ledger.longest_gap(begun, ended), 1),
        "repeated": sum(at >= begun for at, _ in ledger.reasons()),
        "reasons": dict(ledger.reason_counts(begun)),
    }


def _print_run(document: dict[str, Any], name: str, ledger: Path) -> None:
    console.print(
        f"{document['acknowledged_now']} images acknowledged in {document['seconds']:.0f} s "
        f"({document['per_s']:.1f}/s), longest time without one {document['longest_gap_s']:.1f} s."
    )
    console.print(
        f"In the ledger: {document['acknowledged']} acknowledged, {document['unknown']} unknown, "
        f"{document['refused']} refused."
    )
    for reason, count in document["reasons"].items():
        print_item(f"  [yellow]![/] {count} times", reason)
    console.print(f"Next: `hapacs load check {name} --ledger {ledger}`.")


def _print_verdict(verdict: Verdict) -> None:
    for problem in verdict.problems[:_SHOWN]:
        print_item(f"  [red]✗[/] {problem.kind} ({problem.reason.value})", f"{problem.uid} {problem.detail}".strip())
    if (more := len(verdict.problems) - _SHOWN) > 0:
        console.print(f"  and {more} more; `--json` prints all")
    document = verdict.document()
    heads = ("acknowledged", "unknown", "refused", "kept", "lost", "corrupted", "duplicated", "unprotected")
    print_table("", heads, [[str(document[head]) for head in heads]])
    sign = "[green]None is lost.[/]" if verdict.ok else "[red]Something is wrong.[/]"
    console.print(f"{sign} `kept`: not acknowledged, and stored all the same.")
