"""Parameters that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from hapacs.cli import completion, interrupted

Name = Annotated[
    str,
    typer.Argument(
        metavar="DEPLOYMENT",
        callback=interrupted.remember,
        autocompletion=completion.deployment_names,
        help="Directory below inventories/.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
