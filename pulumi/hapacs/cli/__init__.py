"""The command ``hapacs``."""

from __future__ import annotations

import sys

import typer

from hapacs.cli import bench, environment, lifecycle, operations, plan, status, verify
from hapacs.cli.output import ExitCode, errors, print_error
from hapacs.errors import HapacsError, RefusedError

EPILOG = """
Exit codes: 0 done. 1 a step failed; its message says what to do next. 2 the command was given wrongly. 3 refused before
anything was touched (settings, unknown deployment, no confirmation). 4 something unhealthy was found. 130 interrupted;
the same command continues.
"""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A highly available PACS on your own servers: make it, look at it, prove that it works, remove it.",
    epilog=EPILOG,
)
app.command("init")(lifecycle.init)
app.command("plan")(plan.plan)
app.command("up")(lifecycle.up)
app.command("status")(status.status)
app.command("verify")(verify.verify)
app.add_typer(bench.app, name="bench")
app.command("drain")(operations.drain)
app.command("undrain")(operations.undrain)
app.command("switchover")(operations.switchover)
app.command("restart")(operations.restart)
app.command("renew")(operations.renew)
app.command("rotate")(operations.rotate)
app.command("down")(lifecycle.down)
app.command("env")(environment.env)


def main() -> None:
    """Run the command line, and turn what an operator can act on into a message and an exit code."""
    try:
        app()
    except HapacsError as error:
        print_error(error.message, error.hint)
        from hapacs.settings import SettingsError  # noqa: PLC0415 - only when something went wrong

        sys.exit(ExitCode.REFUSED if isinstance(error, (RefusedError, SettingsError)) else ExitCode.FAILED)
    except SystemExit as leaving:
        if leaving.code == ExitCode.INTERRUPTED:
            errors.print("\nInterrupted. Nothing is lost: the same command again continues where it stopped.")
        raise
