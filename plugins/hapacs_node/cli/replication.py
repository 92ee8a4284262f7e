"""`hapacs-node replication`: how far the second site is behind, and whether it has the same images."""

from dataclasses import asdict

import typer

from hapacs_node import settings
from hapacs_node.catalog import canary, replication, ruleset, site
from hapacs_node.catalog.canary import Canary
from hapacs_node.catalog.replication import Lag
from hapacs_node.cli import comparison, conflicts
from hapacs_node.cli.common import ConfigOption, JsonOption, errors, of_catalog, out, print_json
from hapacs_node.replication.model import Outgoing

app = typer.Typer(no_args_is_help=True, help="Copies of the images at the second site.")
app.command()(comparison.compare)
app.command()(conflicts.aside)
app.command()(conflicts.give_way)
app.command()(conflicts.keep)


@app.command()
def status(config: ConfigOption = settings.DEFAULT_PATH, as_json: JsonOption = False) -> None:
    """Show which images the second site lacks, and the age of the oldest. Exit code 1: a copy was set aside."""
    with errors(), of_catalog(config, "replication") as database:
        lag = database.run(replication.lag)
        standing = database.run(site.find)
        sent = database.run(canary.find)
        _, document = database.run(ruleset.current)
        second = Outgoing.model_validate(document).second_site
    name = None if second is None else second.name
    ok = lag is None or not (lag.dead or lag.past_dead)
    if as_json:
        shown = None if lag is None else asdict(lag)
        state = None if standing is None else standing.state
        said = None if sent is None else asdict(sent)
        print_json({"ok": ok, "second_site": name, "state": state, "lag": shown, "canary": said})
    elif lag is None:
        out.print("no image is copied: there is no second site, or policy.replicate is off")
    else:
        for line in _lines(str(name), lag):
            out.print(line)
        if sent is not None:
            out.print(f"canary: {_of_canary(sent)}")
    raise typer.Exit(0 if ok else 1)


def _lines(name: str, lag: Lag) -> list[str]:
    oldest = f"the oldest is {lag.rpo_s / 60:.0f} min old (RPO)" if lag.rpo_s else "none is missing (RPO 0)"
    missing = f"{lag.images:,} images ({lag.bytes / 1e9:,.2f} GB), {lag.unplanned:,} not planned yet"
    past = "all of it is there"
    if not lag.past_confirmed:
        since = "the beginning" if lag.past_at is None else f"{lag.past_at:%Y-%m-%d %H:%M:%S}"
        rest = "" if lag.past_ended else f", and all of before {since}"
        past = f"{lag.past_images:,} images ({lag.past_bytes / 1e9:,.2f} GB) are missing{rest}"
    lines = [f"{name}: {oldest}", f"missing: {missing}; {lag.dead:,} set aside", f"past: {past}"]
    lines.append(f"confirmed: {lag.confirmed:,} images ({lag.confirmed_bytes / 1e9:,.2f} GB)")
    if lag.removals or lag.removals_dead:
        lines.append(f"deletions: {lag.removals:,} not told yet, {lag.removals_dead:,} not followed there")
    if lag.held:
        lines.append("an operator holds the copies")
    if lag.failures:
        lines.append(f"failed {lag.failures} times: {lag.error}")
    return lines


def _of_canary(sent: Canary) -> str:
    late = f"{sent.late:,} of {sent.canaries:,} late within an hour"
    if sent.seconds is None:
        return f"none was confirmed for {sent.age_s:.0f} s; {late}"
    return f"one was confirmed {sent.age_s:.0f} s ago, {sent.seconds:.1f} s after it was stored; {late}"
