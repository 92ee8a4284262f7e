"""``hapacs route``: what waits for each destination, and what the rules make of an image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from hapacs.cli import chosen
from hapacs.cli.output import console, errors, print_json, print_table
from hapacs.cli.parameters import Json, Name
from hapacs.deployment import Deployment
from hapacs.errors import ExitCode

if TYPE_CHECKING:
    from hapacs_node.routing.match import Verdict
    from hapacs_node.routing.model import Routing

app = typer.Typer(no_args_is_help=True, help="Routing: what waits for each destination, and what the rules decide.")

SiteName = Annotated[str, typer.Option("--site", help="Name of the site. Not given: the primary one.")]


_UNITS = {"h": 3600, "d": 86400, "w": 7 * 86400}


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    if found is None:
        raise typer.BadParameter(f"{text} is no time; write a number and h, d or w, such as 7d")
    return int(found[1]) * _UNITS[found[2]]


@app.command()
def status(name: Name = "lab", site: SiteName = "", json: Json = False) -> None:
    """Show for each destination what waits, since when, failures and confirmations.

    Exit code 4: a destination refused an image, or fails.
    """
    from hapacs.site.routing import status as status_of  # noqa: PLC0415 - its clients are slow to import

    at = chosen.sites(name, site)[0]
    with errors.status("Asking the catalog"):
        report = status_of(at)
    well = report["ok"] and not any(one["failures"] for one in report["destinations"])
    if json:
        print_json({"deployment": name, "site": at.name, **report, "ok": well})
    else:
        _print_status(at.name, report)
    if not well:
        raise typer.Exit(ExitCode.UNHEALTHY)


@app.command()
def ping(
    name: Name,
    destination: Annotated[str, typer.Argument(help="Name of the destination in the settings.")],
    site: SiteName = "",
    image: Annotated[bool, typer.Option("--image", help="Each node also sends a test image.")] = False,
    json: Json = False,
) -> None:
    """Ask a destination from each node whether it answers, because any node may send to it.

    Exit code 1: a node gets no good answer.
    """
    from hapacs.site.routing import ping as ping_from  # noqa: PLC0415

    at = chosen.sites(name, site)[0]
    with errors.status(f"Calling {destination}"):
        found = ping_from(at, destination, image=image)
    if json:
        print_json({"deployment": name, "site": at.name, "ok": not any(found.values()), "nodes": found})
    else:
        for node, failure in found.items():
            console.print(f"{node}: {f'[red]{escape(failure)}[/]' if failure else '[green]answers[/]'}")
    if any(found.values()):
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def explain(
    file: Annotated[Path, typer.Argument(help="A DICOM file.", dir_okay=False, exists=True)],
    name: Name = "lab",
    *,
    site: SiteName = "",
    calling_ae: Annotated[str, typer.Option(help="Title that stores it.")] = "",
    called_ae: Annotated[str, typer.Option(help="Title that it is stored to.")] = "",
    at: Annotated[datetime | None, typer.Option(help="When it is stored, in UTC. Not given: now.")] = None,
    json: Json = False,
) -> None:
    """Say for each rule of the settings whether it matches a file, and why. Nothing is sent; nothing has to be up."""
    from hapacs import routing  # noqa: PLC0415
    from hapacs_node.routing.match import Facts  # noqa: PLC0415

    moment = datetime.now(UTC) if at is None else at.replace(tzinfo=UTC)
    facts = Facts(routing.read(file), moment, {"calling_ae": calling_ae, "called_ae": called_ae})
    verdicts, found = routing.explain(_rules(name, site), facts)
    if json:
        print_json({"deployment": name, "rules": _plain(verdicts), "goes_to": found})
        return
    _print_verdicts(verdicts)
    console.print(f"goes to {_places(found)}")


@app.command("test")
def compare(
    folder: Annotated[Path, typer.Argument(help="Folder of cases, one YAML file each.", file_okay=False, exists=True)],
    name: Name = "lab",
    site: SiteName = "",
    json: Json = False,
) -> None:
    """Compare cases with the rules of the settings: images, and where each has to go. Nothing has to be up.

    Exit code 1: an image goes elsewhere.
    """
    from hapacs import routing  # noqa: PLC0415

    outcomes = routing.run_cases(_rules(name, site), folder)
    bad = [one for one in outcomes if not one.ok]
    if json:
        cases = [{"name": one.name, "ok": one.ok, "expected": one.expected, "found": one.found} for one in outcomes]
        print_json({"deployment": name, "ok": not bad, "cases": cases})
    else:
        for one in bad:
            console.print(f"[red]{one.name}[/] goes to {_places(one.found)}, but has to go to {_places(one.expected)}")
            _print_verdicts(one.verdicts)
        console.print(f"{len(outcomes) - len(bad)} of {len(outcomes)} cases are as expected")
    if bad:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def replay(
    name: Name,
    *,
    since: Annotated[
        int, typer.Option(parser=_seconds, metavar="TIME", help="How far back: a number with h, d or w, such as 7d.")
    ] = "7d",  # type: ignore[assignment] # the parser reads it
    rules: Annotated[
        Path | None,
        typer.Option(help="A changed rule set (YAML). Not given: that of the settings.", dir_okay=False, exists=True),
    ] = None,
    limit_s: Annotated[int, typer.Option(min=10, max=3600, help="Time after which it ends where it is.")] = 300,
    site: SiteName = "",
    json: Json = False,
) -> None:
    """Show what rules would have sent of past images, by rule and destination. Nothing is sent.

    The rules need not be live. The newest images are compared first.
    """
    from hapacs import routing  # noqa: PLC0415
    from hapacs.site.routing import replay as replay_at  # noqa: PLC0415

    known = _rules(name, site)
    at = chosen.sites(name, site)[0]
    with errors.status("Comparing past images with the rules"):
        wanted = known if rules is None else routing.read_rules(rules, known)
        report = replay_at(at, wanted, since, limit_s)
    if json:
        print_json({"deployment": name, "site": at.name, **report})
    else:
        _print_replay(at.name, report)


def _rules(name: str, site: str) -> Routing:
    found = Deployment.load(name).settings.sites
    primary_first = sorted(found, key=lambda one: found[one].role != "primary")
    return chosen.of(name, site, {one: found[one].routing for one in primary_first})[0]


def _places(found: Mapping[str, str]) -> str:
    return ", ".join(f"{destination} by {rule}" for destination, rule in found.items()) or "nothing"


def _plain(verdicts: Iterable[Verdict]) -> list[dict[str, Any]]:
    return [{"rule": one.rule.name, "matches": one.matches, "reasons": list(one.reasons)} for one in verdicts]


def _print_verdicts(verdicts: Iterable[Verdict]) -> None:
    for one in verdicts:
        mark = "[green]matches[/]" if one.matches else "[dim]does not match[/]"
        console.print(f"{one.rule.name} {mark}: {escape('; '.join(one.reasons))}")


def _print_status(site: str, report: dict[str, Any]) -> None:
    if report["destinations"]:
        rows = [
            (
                one["destination"],
                _state(one),
                *(f"{one['tasks'][state]:,}" if one["tasks"][state] else "" for state in one["tasks"]),
                f"{one['oldest_s'] / 60:.0f} min" if one["oldest_s"] else "",
                f"{one['confirmed']:,}",
                escape(one["error"]),
            )
            for one in report["destinations"]
        ]
        states = list(report["destinations"][0]["tasks"])
        print_table(site, ("destination", "", *states, "oldest waits", "confirmed", "last error"), rows)
    else:
        console.print(f"[bold]{site}[/]: no rule has a destination")
    console.print(
        f"{report['unmatched_today']:,} images today matched no rule; {report['unplanned']:,} are not compared yet"
    )


def _state(one: dict[str, Any]) -> str:
    if one["held"]:
        return "[yellow]held[/]"
    return f"[red]failed {one['failures']} times[/]" if one["failures"] else "[green]works[/]"


def _print_replay(site: str, report: dict[str, Any]) -> None:
    rest = (("no rule", "unmatched"), ("not readable", "unread"), ("all images", "compared"))
    rows = [
        (one["rule"], one["destination"], f"{one['images']:,}", f"{one['bytes'] / 1e6:,.1f}", "\n".join(one["studies"]))
        for one in [*report["sent"], *({"rule": name, "destination": "", **report[key]} for name, key in rest)]
    ]
    print_table(site, ("rule", "destination", "images", "MB", "studies, for example"), rows)
    console.print(f"images that were stored since {report['back_to']}")
    if not report["complete"]:
        console.print("[yellow]the time limit ended it before; give a larger --limit-s[/]")
