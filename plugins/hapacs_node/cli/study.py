"""`hapacs-node study`: corrections of a study, its deletion and restoration."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from hapacs_node import log, settings
from hapacs_node import restore as restore_
from hapacs_node.cli import corrections, studies
from hapacs_node.cli.common import ConfigOption, JsonOption, err, out, print_json, to_journal
from hapacs_node.cli.node import opened
from hapacs_node.correction.operator import Corrector

app = typer.Typer(no_args_is_help=True, help="Studies: their corrections, deletion and restoration.")
_MOST_STUDIES = 1000
_CORRECTIONS = (
    corrections.show, corrections.move, corrections.unmove, corrections.merge, corrections.hide, corrections.unhide,
    corrections.delete,
)  # fmt: skip
for command in _CORRECTIONS:
    app.command()(command)


@app.command()
def deleted(
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
    since: Annotated[datetime | None, typer.Option(help="Only what was deleted since then, UTC.")] = None,
) -> None:
    """List the studies of which images were deleted: when, by whom, and how many are not in the index now."""
    with opened(config) as node:
        unread = restore_.identify(node.storage.catalog, node.storage.reader)
        after = None if since is None else since.replace(tzinfo=UTC)
        document = studies.deleted(node.storage.catalog.deleted_studies(after, _MOST_STUDIES), unread)
    if as_json:
        print_json(document)
    else:
        out.print(studies.deleted_table(document))
        if unread:
            err.print(f"{unread} deleted images can't be read now: their studies are not in the list")
    raise typer.Exit(0 if document["ok"] else 1)


@app.command()
def restore(
    study: Annotated[str, typer.Argument(help="Study Instance UID.")],
    store: Annotated[str, typer.Option(help="The storing Orthanc of a node, https://ADDRESS:PORT.")],
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
    operator: Annotated[str, typer.Option(help="Name for the journal.")] = "root",
) -> None:
    """Store the deleted images of a study again; images that the index has are not touched."""
    to_journal(log.get("restore"))
    with opened(config) as node:
        orthanc = restore_.Orthanc.of(store)
        restoration = restore_.Restoration(node.storage.catalog, node.storage.reader, orthanc.store)
        document = studies.restored(study, restoration.study(study, operator))
        if document["ok"]:
            Corrector(node.database).restored(study, operator)
    if as_json:
        print_json(document)
    elif not document["images"]:
        err.print(f"no image of study {study} was deleted")
    else:
        out.print(", ".join(f"{count} {state}" for state, count in document["counts"].items()))
        if not document["ok"]:
            out.print(studies.restored_table(document))
    raise typer.Exit(0 if document["ok"] else 1)
