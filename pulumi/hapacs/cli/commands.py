"""The commands of ``hapacs``, in the groups in which the help shows them."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from hapacs.cli import (
    backup,
    bench,
    down,
    dr,
    drill,
    environment,
    find,
    integrity,
    interrupted,
    lifecycle,
    load,
    operations,
    plan,
    rebuild,
    reindex,
    report,
    restore,
    route,
    status,
    study,
    verify,
)
from hapacs.deployment import PROJECT

EPILOG = """
Exit codes: 0 done; 1 a step failed; 2 wrong command line; 3 refused, nothing was touched; 4 something is unhealthy;
130 interrupted. Details: docs/operations/cli.md.
"""
LIFECYCLE, LOOK, OPERATE, MEASURE = "Make and remove", "Look", "Operate", "Measure"

_FRAMED_COLUMNS = 70

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # In a narrow terminal the frames would cut words.
    rich_markup_mode="rich" if shutil.get_terminal_size().columns >= _FRAMED_COLUMNS else None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata  # noqa: PLC0415 - slow to import

        typer.echo(f"hapacs {metadata.version('hapacs')} ({PROJECT})")
        raise typer.Exit


@app.callback()
def _begin(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and the tree it runs from."
        ),
    ] = False,
) -> None:
    """Set up, check, operate and remove a highly available PACS on your own servers."""
    interrupted.running.command = context.invoked_subcommand or ""


app.command("init", rich_help_panel=LIFECYCLE)(lifecycle.init)
app.command("plan", rich_help_panel=LIFECYCLE)(plan.plan)
app.command("up", rich_help_panel=LIFECYCLE)(lifecycle.up)
app.command("down", rich_help_panel=LIFECYCLE)(down.down)
app.command("status", rich_help_panel=LOOK)(status.status)
app.command("verify", rich_help_panel=LOOK)(verify.verify)
app.command("find", rich_help_panel=LOOK)(find.find)
app.add_typer(route.app, name="route", rich_help_panel=LOOK)
app.command("env", rich_help_panel=LOOK)(environment.env)
app.add_typer(study.app, name="study", rich_help_panel=OPERATE)
app.command("reindex", rich_help_panel=OPERATE)(reindex.reindex)
app.command("rebuild", rich_help_panel=OPERATE)(rebuild.rebuild)
app.add_typer(backup.app, name="backup", rich_help_panel=OPERATE)
app.command("restore", rich_help_panel=OPERATE)(restore.restore)
app.command("reconcile", rich_help_panel=OPERATE)(integrity.reconcile)
app.command("scrub", rich_help_panel=OPERATE)(integrity.scrub)
app.add_typer(dr.app, name="dr", rich_help_panel=OPERATE)
app.command("drain", rich_help_panel=OPERATE)(operations.drain)
app.command("undrain", rich_help_panel=OPERATE)(operations.undrain)
app.command("switchover", rich_help_panel=OPERATE)(operations.switchover)
app.command("restart", rich_help_panel=OPERATE)(operations.restart)
app.command("renew", rich_help_panel=OPERATE)(operations.renew)
app.command("rotate", rich_help_panel=OPERATE)(operations.rotate)
app.add_typer(load.app, name="load", rich_help_panel=MEASURE)
app.add_typer(bench.app, name="bench", rich_help_panel=MEASURE)
app.add_typer(drill.app, name="drill", rich_help_panel=MEASURE)
app.add_typer(report.app, name="report", rich_help_panel=MEASURE)
