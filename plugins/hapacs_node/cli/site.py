"""`hapacs-node site`: whether this site leads, and what the other one said last."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from hapacs_node import settings
from hapacs_node.catalog import replication, ruleset, site
from hapacs_node.catalog.database import Database
from hapacs_node.cli.common import SELF, ConfigOption, JsonOption, errors, of_catalog, out, print_json
from hapacs_node.errors import RefusedError
from hapacs_node.replication import exchange
from hapacs_node.replication.model import Outgoing

app = typer.Typer(no_args_is_help=True, help="Which of two sites leads.")


@app.command()
def show(config: ConfigOption = settings.DEFAULT_PATH, as_json: JsonOption = False) -> None:
    """Show whether this site leads, how many of its images the other one lacks, and what that one said last."""
    with errors(), of_catalog(config, "site") as database:
        document = _document(database)
    if as_json:
        print_json(document)
    elif document["site"] is None:
        out.print("no image is copied: there is no other site, or policy.replicate is off")
    else:
        for line in _lines(document):
            out.print(line)


@app.command()
def change(
    state: Annotated[Literal["leads", "follows", "fenced"], typer.Argument(help="What the site is from now on.")],
    *,
    term: Annotated[int, typer.Option(min=1, help="Its term from now on.")],
    known: Annotated[int, typer.Option(min=1, help="Its term now; when it is another one nothing is changed.")],
    reason: Annotated[str, typer.Option(help="For the record.")],
    operator: Annotated[str, typer.Option(help="Who changes it.")] = SELF,
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Change what this site is to the other one. `hapacs dr` does it at both sites, in the right order."""
    with errors(), of_catalog(config, "site") as database:
        if not database.run(lambda c: site.change(c, site.Change(state, term, known, operator, reason))):
            raise RefusedError(f"the term of this site is not {known}: look at `hapacs-node site show`, and try again")
        document = _document(database)
    if as_json:
        print_json(document)
    else:
        for line in _lines(document):
            out.print(line)


@app.command()
def resync(config: ConfigOption = settings.DEFAULT_PATH, as_json: JsonOption = False) -> None:
    """Ask the other site for all images of this one, also copies and confirmed ones, and send what it lacks."""
    with errors(), of_catalog(config, "site") as database:
        if not database.run(replication.resync):
            raise RefusedError("no image is copied: there is no other site, or policy.replicate is off")
        document = _document(database)
    if as_json:
        print_json(document)
    else:
        out.print(
            "all images are planned again, the newest first: `hapacs-node replication status` shows how far it is"
        )


def _document(database: Database) -> dict[str, Any]:
    standing, said = database.run(site.find), database.run(exchange.own)
    _, rules = database.run(ruleset.current)
    second = Outgoing.model_validate(rules).second_site
    return {
        "ok": True,
        "other_site": None if second is None else second.name,
        "site": None if standing is None else asdict(standing),
        "says": None if said is None else said.model_dump(mode="json"),
        "fenced": database.run(site.fenced),
    }


def _lines(document: dict[str, Any]) -> list[str]:
    here, said, other = document["site"], document["says"], document["site"]["other"]
    name, since = document["other_site"], f"{here['changed_at']:%Y-%m-%d %H:%M:%S}"
    why = f"({here['changed_by']}: {here['reason']})"
    lines = [
        f"this site ({here['role']}): {here['state']}, term {here['term']}, since {since} {why}",
        f"images that {name} lacks: {said['images']:,}",
    ]
    if document["fenced"] is not None:
        lines.append(f"images of callers are refused: {document['fenced']}")
    if other is None:
        lines.append(f"{name} has said nothing yet")
    else:
        lines.append(f"{name}: {other['state']}, term {other['term']}; heard {here['heard_at']:%Y-%m-%d %H:%M:%S}")
        lines.append(f"images of {name} that are not here: {other['images']:,}")
    lines.append(f"the Watchdog of {name} came last: {here['watched_at']:%Y-%m-%d %H:%M:%S}")
    return lines
