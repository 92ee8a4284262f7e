"""Opens this node for a command."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hapacs_node import settings
from hapacs_node.cli.common import errors
from hapacs_node.node import Node
from hapacs_node.settings import Settings


@contextmanager
def opened(config: Path) -> Iterator[Node]:
    """Open the node with short deadlines: a person waits.

    Raises
    ------
    typer.Exit
        After an error was printed.
    """
    with errors():
        node = Node.build(_short(settings.load(config)), "check")
        try:
            yield node
        finally:
            node.close()


def _short(loaded: Settings) -> Settings:
    database = loaded.database.model_copy(update={"deadline_s": 10.0, "statement_timeout_s": 5.0})
    cas = loaded.cas.model_copy(update={"deadline_s": 10.0, "attempt_timeout_s": 5.0})
    return loaded.model_copy(update={"database": database, "cas": cas})
