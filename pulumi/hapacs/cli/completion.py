"""What the shell completes. Each function is called at a press of the Tab key, so none imports what is slow."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import typer

from hapacs import deployment as deployments
from hapacs.errors import HapacsError


def deployment_names() -> list[str]:
    """Return the deployments of this tree."""
    return deployments.names()


def node_names(context: typer.Context) -> list[str]:
    """Return the nodes of the deployment that is named on the line, as its last `up` made them."""
    return [node for site in _sites(context).values() for node in site["nodes"]]


def site_names(context: typer.Context) -> list[str]:
    """Return the sites of the deployment that is named on the line."""
    return list(_sites(context))


def check_names() -> list[str]:
    """Return the checks of `hapacs verify`."""
    # Read, not imported: what the checks need takes seconds to import.
    spec = find_spec("hapacs.verify")
    source = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    return re.findall(r'\bEntry\(\s*"([a-z0-9-]+)"', source)


def service_names() -> list[str]:
    """Return the services that `hapacs restart` restarts."""
    from hapacs.services import operations  # noqa: PLC0415

    return [*operations.restartable(), operations.ALL]


def drill_names() -> list[str]:
    """Return the drills of `hapacs drill run`."""
    from hapacs.drills import table  # noqa: PLC0415

    return [drill.name for drill in table.DRILLS]


def secret_kinds() -> list[str]:
    """Return the kinds of secrets that `hapacs rotate` replaces."""
    from hapacs import rotation  # noqa: PLC0415

    return list(rotation.KINDS)


def _sites(context: typer.Context) -> dict[str, dict[str, dict[str, object]]]:
    try:
        contract = deployments.Deployment.load(context.params.get("name") or "lab").contract_file
        sites: dict[str, dict[str, dict[str, object]]] = json.loads(contract.read_text(encoding="utf-8"))["sites"]
    except (HapacsError, OSError, ValueError, KeyError):
        return {}
    return sites
