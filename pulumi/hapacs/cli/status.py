"""``hapacs status``: the nodes, what runs on them, who leads, what would be stored, and how much room is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import typer

from hapacs import interruption
from hapacs.cli.output import console, errors, print_item, print_json, print_table
from hapacs.cli.parameters import Json, Name
from hapacs.deployment import Deployment
from hapacs.errors import ExitCode
from hapacs.site.facts import Certificate, DatabaseRoom
from hapacs.site.summary import summary

# As long as a busy node takes to start its own program.
_LAG_S = 10.0
# As the alerts SecondSiteBehind and CanaryNotConfirmed.
_LATE_S, _CANARY_S = 900, 600


def status(name: Name = "lab", json: Json = False) -> None:
    """Show services, leaders, virtual address, free space and certificates, and whether an image would be stored."""
    from hapacs.site.access import sites  # noqa: PLC0415 - its clients are slow to import
    from hapacs.site.collect import QUICK_S, collect  # noqa: PLC0415
    from hapacs.site.second_site import lag  # noqa: PLC0415

    deployment = Deployment.load(name)
    asked = sites(deployment)
    with errors.status("Asking the nodes"), interruption.Workers(max_workers=2 * len(asked)) as pool:
        running = pool.map(lambda site: collect(site, QUICK_S), asked)
        behind = pool.map(lambda site: lag(site, _LAG_S), asked)
        found = {
            site.name: summary(one) | {"second_site": missing}
            for site, one, missing in zip(asked, running, behind, strict=True)
        }
    ok = all(one["ok"] for one in found.values())
    if json:
        print_json({"deployment": name, "ok": ok, "sites": found})
    else:
        for site_name, one in found.items():
            _print(site_name, one)
            _print_together(name, one["together"])
        if not ok:
            console.print(
                f"[red]The deployment is unhealthy.[/] `hapacs verify {name}` tests more; `hapacs up {name}` repairs."
            )
    if not ok:
        raise typer.Exit(ExitCode.UNHEALTHY)


def _services(state: Mapping[str, Any]) -> str:
    if state["drained"] is None:
        return "[red]does not answer[/]"
    drained = ", [yellow]drained[/]" if state["drained"] else ""
    count = len(state["problems"])
    problems = f", [red]{count} problem{'s' * (count > 1)}[/]" if count else ""
    return f"[green]{state['running']} running[/]{drained}{problems}"


def _free(free_bytes: int, size_bytes: int) -> str:
    return f"{free_bytes / 2**30:.1f}/{size_bytes / 2**30:.1f} GiB"


def _database_free(room: DatabaseRoom) -> str:
    colour = "red" if room.scarce else "yellow" if room.low else "default"
    return f"[{colour}]{_free(room.free_bytes, room.bytes)}[/]"


def _coloured(certificate: Mapping[str, str]) -> str:
    ends = Certificate(**certificate).ends_at
    left = ends - datetime.now(UTC)
    # `hapacs up` and `hapacs renew` renew 30 days before the end; so nobody looked after it for some days.
    colour = "red" if left < timedelta(days=7) else "yellow" if left < timedelta(days=25) else "green"
    shown = f"{ends:%Y-%m-%d}" if left > timedelta(days=2) else f"{ends:%Y-%m-%d %H:%M} UTC"
    return f"[{colour}]{shown}[/]"


def _print(name: str, site: Mapping[str, Any]) -> None:
    """Print a site: a row for each node, then its problems with what to do about them."""
    rows = []
    for node, state in site["nodes"].items():
        room, certificate, database = state["room"], state["certificate"], state["database_room"]
        roles = {
            "address": state["virtual_address"],
            "writer": node == site["writer"],
            state["database"]: state["database"],
        }
        rows.append(
            (
                node,
                _services(state),
                ", ".join(what for what, there in roles.items() if there),
                _free(room["das_free_bytes"], room["das_bytes"]) if room else "",
                f"{room['cas_used_bytes'] / 2**30:.1f} GiB" if room else "",
                _database_free(DatabaseRoom(**database)) if database else "",
                _coloured(certificate) if certificate else "",
            )
        )
    print_table(
        f"{name}, virtual address {site['virtual_address']}",
        ("node", "services", "role", "DAS free", "CAS used", "database free", "certificates"),
        rows,
    )
    _print_storing(site["storing"])
    if site["second_site"] is not None:
        _print_second(site["second_site"])
    for part in (site, *site["nodes"].values()):
        for problem in part["problems"]:
            print_item("[red]✗[/]", "{message}: {remedy}".format_map(problem))


def _print_second(lag: Mapping[str, Any]) -> None:
    """Print which site leads, and what the other one lacks."""
    about = f"other site {lag['name']}:"
    if "unknown" in lag:
        print_item(f"{about} [yellow]not known[/]:", lag["unknown"])
        return
    if lag["state"] == "fenced":
        print_item("[yellow]fenced[/]:", f"{lag['name']} leads, and images of modalities are refused here")
    missing, set_aside = lag["images"] + lag["unplanned"], lag["dead"] + lag["past_dead"] + lag.get("removals_dead", 0)
    if missing:
        colour = "yellow" if lag["rpo_s"] > _LATE_S else "default"
        oldest = f"[{colour}]RPO {lag['rpo_s'] / 60:.0f} min[/]"
        print_item(f"{about} {oldest},", f"the age of the oldest of {missing:,} images that are not confirmed there")
    else:
        print_item(f"{about} [green]RPO 0[/],", "every new image is confirmed there")
    if (canary := lag.get("canary")) is not None:
        colour = "yellow" if canary["age_s"] > _CANARY_S else "default"
        took = "" if canary["seconds"] is None else f", {canary['seconds']:.1f} s after it was stored"
        last = "no canary was confirmed yet" if not took else f"a canary was confirmed {canary['age_s']:.0f} s ago"
        print_item(f"{about} [{colour}]{last}{took}[/];", f"{canary['late']} of {canary['canaries']} late in an hour")
    if not (lag["past_ended"] and not lag["past_images"]):
        rest = "" if lag["past_ended"] else f", and all of before {lag['past_at'] or 'the first copy'}"
        print_item(about, f"{lag['past_images']:,} images of the past are not there yet{rest}")
    if lag.get("removals"):
        print_item(about, f"{lag['removals']:,} deletions are not told there yet")
    if set_aside:
        print_item(
            f"{about} [red]{set_aside:,} images or deletions were set aside[/]:",
            "`hapacs-node outbox list --state dead`",
        )
    if lag["failures"]:
        print_item(f"{about} [yellow]failed {lag['failures']} times[/]:", lag["error"])


def _print_together(deployment: str, together: Sequence[Mapping[str, Any]]) -> None:
    """Print which node has several roles: not wrong, and one fault interrupts more than it has to."""
    words = {"storing": "stores", "database": "leads the database", "address": "has the virtual address"}
    for one in together:
        *first, last = (words[role] for role in one["roles"])
        print_item(
            "[dim]-[/]",
            f"{one['node']} {', '.join(first)} and {last}: one fault interrupts all of it. "
            f"`hapacs switchover {deployment} --what {one['roles'][0]} --node {one['free']}` parts them.",
        )


def _print_storing(storing: Mapping[str, str | None]) -> None:
    """Print what would happen to the next image."""
    if storing["refusal"]:
        print_item("storing: [red]would be refused[/]:", storing["refusal"])
    elif storing["node"]:
        console.print(f"storing: [green]would be stored by {storing['node']}[/]")
    else:
        print_item("storing:", "C-ECHO succeeds; the node that would store is not known")
