"""``hapacs dr``: what concerns two sites of a deployment."""

from __future__ import annotations

import typer

from hapacs.cli import dr_compare

app = typer.Typer(no_args_is_help=True, help="Second site: compare both sites.")
app.command("compare")(dr_compare.compare)


@app.callback()
def _group() -> None:
    """Keep its commands below `dr`."""
