"""The command ``hapacs``."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Any

from hapacs import interruption
from hapacs.cli import interrupted

PROJECT = Path(__file__).resolve().parents[3]


def __getattr__(name: str) -> Any:
    # Imported late, so that Ctrl-C is already handled while the imports take their time.
    if name == "app":
        from hapacs.cli.commands import app  # noqa: PLC0415

        return app
    raise AttributeError(name)


def main() -> None:
    """Run the command line; turn what an operator can act on into a message and an exit code."""
    with interruption.guard(interrupted.sentence):
        sys.exit(_run())


def _run() -> int:
    from hapacs.cli.output import errors, print_error  # noqa: PLC0415
    from hapacs.errors import ExitCode, HapacsError  # noqa: PLC0415

    try:
        _require_own_tree(Path(sys.argv[0]))
        from hapacs.cli.commands import app  # noqa: PLC0415

        app()
    except HapacsError as error:
        print_error(error.message, error.hint)
        return error.exit_code
    except PermissionError as error:
        print_error(
            f"{getpass.getuser()} may not access {error.filename}.",
            "Run the command as the user who set up the deployment.",
        )
        return ExitCode.FAILED
    except SystemExit as leaving:
        if leaving.code == ExitCode.INTERRUPTED and not interruption.requested():
            errors.print(interrupted.sentence(), markup=False)
        return leaving.code if isinstance(leaving.code, int) else ExitCode.OK
    return ExitCode.OK


def _require_own_tree(launcher: Path) -> None:
    """Refuse to run one tree's code by another tree's command: a copied `.venv` still names the tree it came from."""
    from hapacs.errors import RefusedError  # noqa: PLC0415

    parents = launcher.resolve().parents
    tree = parents[2] if len(parents) > 2 else PROJECT  # noqa: PLR2004 - TREE/.venv/bin/hapacs
    if tree != PROJECT and (tree / "pulumi" / "hapacs" / "cli").is_dir():
        raise RefusedError(
            f"{launcher} would run the code of another tree: {PROJECT}. Its virtual environment was copied from there.",
            f"Run `make setup` in {tree}, then run the command again.",
        )
