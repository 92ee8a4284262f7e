"""`hapacs-node manifest`: list in the archive what the archive got on each day."""

import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from hapacs_node import log, settings
from hapacs_node.cli.common import SELF, ConfigOption, JsonOption, errors, out, print_json, to_journal
from hapacs_node.integrity.record import Check, recorded
from hapacs_node.manifest.run import Manifests
from hapacs_node.node import Node

_LOG = log.get("integrity")

app = typer.Typer()


@app.command()
def manifest(
    *,
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
    minutes: Annotated[float, typer.Option(min=0, help="Begin with no further day after so many minutes.")] = 60,
    operator: Annotated[str, typer.Option(help="Name for the journal.")] = SELF,
) -> None:
    """Write the manifests of past days that the archive has not, the latest first. A rebuild compares with them.

    Exit codes: 0 the archive has the manifest of each past day; 1 some are missing, or a place does not answer; 2 wrong
    usage.
    """
    end, written = time.monotonic() + minutes * 60, []
    to_journal(_LOG)
    with errors():
        known = settings.load(config)
        node = Node.build(known, "check")
        try:
            # A day without a manifest is no damaged copy, which is what `open` counts and an alert pages for.
            with recorded(known.results, Check.MANIFEST):
                manifests = Manifests(known.site, node.database, node.cas)
                lacking = manifests.lacking(datetime.now(UTC))
                _LOG.info(log.line("manifest_began", lacking=len(lacking), operator=operator))
                for day in lacking:
                    if time.monotonic() >= end:
                        break
                    manifests.write(day)
                    written.append(day.isoformat())
        finally:
            node.close()
    left = len(lacking) - len(written)
    if as_json:
        print_json({"ok": not left, "written": written, "lacking": left})
    else:
        out.print(f"{len(written):,} manifests written; {left:,} past days have none")
    raise typer.Exit(1 if left else 0)
