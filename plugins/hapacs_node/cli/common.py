"""What the commands share: options, the terminal, and the exit codes of errors."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hapacs_node import journal, log, settings
from hapacs_node.catalog.database import Database
from hapacs_node.errors import ConfigurationError, NodeError
from hapacs_node.metrics import Metrics

out = Console()
err = Console(stderr=True, soft_wrap=True, highlight=False)

ConfigOption = Annotated[
    # `settings.load` reports an unreadable file, and what to do.
    Path, typer.Option("--config", envvar="HAPACS_NODE_FILE", readable=False, help="The node's configuration.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
SELF = os.environ.get("SUDO_USER", "root")
"""Who runs the command, unless an option says another name."""


@contextmanager
def errors() -> Iterator[None]:
    """Turn an error of a node into its message and an exit code."""
    try:
        yield
    except ConfigurationError as error:
        err.print(str(error), style="red")
        raise typer.Exit(2) from None
    except NodeError as error:
        err.print(str(error), style="red")
        raise typer.Exit(1) from None


def of_catalog(config: Path, name: str) -> Database:
    """Return the catalog's database for a command, with short deadlines: a person waits.

    Parameters
    ----------
    config : Path
        The node's configuration.
    name : str
        Of the command, for the database's list of sessions.

    Raises
    ------
    ConfigurationError
        When the configuration can't be used.
    """
    short = settings.load(config).database.model_copy(update={"deadline_s": 10.0, "statement_timeout_s": 10.0})
    return Database(short, Metrics(), application=f"hapacs-node {name}")


def to_journal(part: logging.Logger) -> None:
    """Write the events of a part of the node to the journal, those that are no errors too."""
    part.setLevel(logging.INFO)
    logging.getLogger(log.ROOT).addHandler(journal.JournalHandler())


def print_json(document: object) -> None:
    """Print a document in one line."""
    typer.echo(json.dumps(document, default=str))
