"""`hapacs-node probe`: the synthetic patient."""

import logging
import signal
from pathlib import Path
from typing import Annotated

import typer

from hapacs_node import log, settings
from hapacs_node.cli.common import ConfigOption, errors, to_journal
from hapacs_node.errors import ConfigurationError
from hapacs_node.probe.service import Probe
from hapacs_node.probe.settings import ProbeSettings

app = typer.Typer(no_args_is_help=True, help="The probe that stores, finds and retrieves a marked image.")
_SETTINGS = Path("/etc/hapacs-probe/probe.json")


# With a callback the name `run` stays, also when there is no other command.
@app.callback()
def _probe() -> None: ...


@app.command()
def run(
    *,
    own: Annotated[Path, typer.Option("--settings", help="The configuration of the probe.")] = _SETTINGS,
    config: ConfigOption = settings.DEFAULT_PATH,
) -> None:
    """Run the probe until a signal ends it."""
    to_journal(logging.getLogger(log.ROOT))
    with errors():
        try:
            probe, database = Probe.build(settings.load(config), ProbeSettings.load(own))
        except OSError as error:
            raise ConfigurationError(f"a file of {own} can't be read: {error}") from None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: probe.stop.set())
    with database:
        probe.run()
