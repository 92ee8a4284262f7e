"""`hapacs-node`: inspect a node and its stored objects.

Exit codes: 0 all is well; 1 something is missing, damaged or doesn't answer; 2 wrong usage or configuration.
"""

import logging
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from hapacs_node import log

# The module of each command, and the name of its application where it has two. Only what is called is loaded:
# all of it is 80 MB in each service, where it needs 50.
_COMMANDS = {
    **dict.fromkeys(("migrate", "reindex", "check", "instance", "object"), "whole_node"),
    "das": "das",
    "study": "study",
    "route": "route:route_app",
    "outbox": "route:outbox_app",
    "commitment": "commitment",
    "replication": "replication",
    "site": "site",
    "probe": "probe",
    **dict.fromkeys(("reconcile", "scrub"), "integrity"),
    "rebuild": "rebuild",
    "manifest": "manifest",
}


class _Commands(TyperGroup):
    """Loads the module of a command when it is called, or described."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - as TyperGroup has it
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - as TyperGroup has it
        module, _, name = _COMMANDS.get(cmd_name, "").partition(":")
        if not module:
            return None
        group = typer.main.get_group(getattr(import_module(f"{__name__}.{module}"), name or "app"))
        command = group.commands.get(cmd_name, group)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)


# With a callback it is a group, though no command is there yet.
@app.callback()
def _hapacs_node() -> None: ...


def main() -> None:
    """Run the command line."""
    logging.getLogger(log.ROOT).setLevel(logging.ERROR)
    app()
