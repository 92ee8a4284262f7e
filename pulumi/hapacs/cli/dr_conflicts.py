"""``hapacs dr conflicts`` and ``keep``: images that both sites have with other bytes, and which of them stays."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from hapacs.cli import chosen
from hapacs.cli.output import Steps, console, errors, print_json, print_table
from hapacs.cli.parameters import Json, Name
from hapacs.errors import ExitCode, UsageError


def conflicts(name: Name, json: Json = False) -> None:
    """List images that both sites took with the same UIDs and other bytes. Each site shows its own one.

    Exit code 1: there are some, or a site does not answer.
    """
    from hapacs.site import conflicts as at  # noqa: PLC0415 - its clients are slow to import

    with errors.status("Asking both sites"):
        found = at.find(chosen.sites(name, ""))
    if json:
        print_json({"deployment": name, "conflicts": [asdict(one) for one in found]})
    elif not found:
        console.print("[green]✓[/] No image has other bytes at the other site.")
    else:
        rows = [
            (one.sop, site, version.digest[:12], version.caller, f"{version.stored_at:%Y-%m-%d %H:%M:%S}")
            for one in found
            for site, version in one.versions.items()
        ]
        print_table(name, ("image", "site", "digest", "from", "stored (UTC)"), rows)
        console.print(f"Choose: `hapacs dr keep {name} --from SITE --image UID --reason WHY`.")
    if found:
        raise typer.Exit(ExitCode.FAILED)


def keep(
    name: Name,
    *,
    winner: Annotated[str, typer.Option("--from", help="The site whose images stay.")],
    reason: Annotated[str, typer.Option(help="Why, for the records of both sites.")],
    image: Annotated[list[str] | None, typer.Option(help="SOP Instance UID of a conflict (repeatable).")] = None,
    every: Annotated[bool, typer.Option("--all", help="All conflicts.")] = False,
    json: Json = False,
) -> None:
    """Let one site's images replace those of the other one with the same UIDs. No bytes are lost.

    What is replaced stays in its site's archive under its lock, and in its catalog as replaced.
    """
    from hapacs.site import conflicts as at  # noqa: PLC0415

    if bool(image) == every:
        raise UsageError("Not told which images stay.", "Give --image, or --all.")
    sites = chosen.sites(name, "")
    with Steps(quiet=json).step(f"Letting the images of {winner} replace the others"):
        known = [one.sop for one in at.find(sites)]
        wanted = known if every else image or []
        if unknown := sorted(set(wanted) - set(known)):
            raise UsageError(f"No conflict: {', '.join(unknown)}.", f"`hapacs dr conflicts {name}` lists them.")
        kept = at.decide(sites, winner, wanted, reason) if wanted else 0
    if json:
        print_json({"deployment": name, "kept": kept, "from": winner})
    else:
        console.print(f"{kept:,} images of {winner} are on their way; `hapacs dr conflicts {name}` shows what is left.")
