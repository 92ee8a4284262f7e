"""``hapacs down``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hapacs.cli.lifecycle import follow, opened
from hapacs.cli.output import Steps, console, errors, print_json
from hapacs.cli.parameters import Json, Name
from hapacs.errors import HapacsError, RefusedError

if TYPE_CHECKING:
    from hapacs.deployment import Deployment

_IMAGES_TIMEOUT_S = 3


def down(
    name: Name = "lab",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")] = False,
    confirm: Annotated[str, typer.Option(help="The deployment's name, in place of typing it when asked.")] = "",
    json: Json = False,
) -> None:
    """Remove what `up` made. Machines that existed before `up` are not touched.

    A lab is removed with all its images, after you typed its name. Of other deployments only Pulumi's state is removed.
    """
    from hapacs import targets  # noqa: PLC0415 - pulumi is slow to import
    from hapacs.engine import Engine  # noqa: PLC0415

    deployment = opened(name)
    makes_machines = deployment.settings.target.makes_machines
    # A lab without an inventory never held an image.
    if not yes and (deployment.contract_file.exists() or not makes_machines):
        _require_confirmation(deployment, confirm, _loss(deployment) if makes_machines else _nothing_lost(name))
    steps = Steps(quiet=json)
    with deployment.alone():
        with steps.step("Machines") as step:
            # Without its secrets the stack cannot be opened; what it made is then found by its labels.
            if not makes_machines or (deployment.secrets_file.exists() and deployment.age_key.exists()):
                Engine(deployment, on_change=follow(step)).down()
        with steps.step("Files"):
            targets.create(deployment.settings, deployment.state).sweep(deployment)
    if json:
        print_json({"deployment": name, "machines_removed": makes_machines, "seconds": steps.seconds})
    elif makes_machines:
        console.print(f"{name} is removed. The cache in {deployment.cache} makes the next one quick.")
    else:
        console.print(f"Pulumi's state of {name} is removed. Its machines, data, keys and secrets are as they were.")


def _require_confirmation(deployment: Deployment, given: str, consequence: str) -> None:
    """Refuse unless the deployment's name was given or is typed now."""
    name = deployment.name
    if not given:
        errors.print(consequence, markup=False)
        if not sys.stdin.isatty():
            raise RefusedError(
                f"`hapacs down {name}` needs a confirmation, and there is no terminal to ask at. Nothing was done.",
                f"In a script: `hapacs down {name} --yes`.",
            )
        given = typer.prompt("Type the deployment's name to go on", default="", show_default=False, err=True)
    if given != name:
        raise RefusedError(f"{given!r} is not {name!r}. Nothing was done.", f"`hapacs down {name}` asks again.")


def _nothing_lost(name: str) -> str:
    return f"This removes the machines of {name} from Pulumi's state. It touches no machine and no data."


def _loss(deployment: Deployment) -> str:
    """Return what removing a deployment with its machines destroys."""
    with errors.status("Counting images"):
        images = _count_images(deployment)
    held = "an unknown number of images (no node answered)" if images is None else f"{images:,} images"
    size = f"{_allocated_bytes(deployment.state) / 2**30:.1f} GiB"
    return (
        f"This removes {deployment.name} and everything in it: {held}, machines, database, archive, keys and secrets; "
        f"{size} in {deployment.state}. It cannot be undone."
    )


def _count_images(deployment: Deployment) -> int | None:
    """Return how many images the sites hold; None when one of them does not answer."""
    import httpx  # noqa: PLC0415 - slow to import

    from hapacs.site.access import HTTPS_PORTS, sites  # noqa: PLC0415

    total = 0
    for site in sites(deployment):
        for node in site.members("pacs"):
            try:
                answer = httpx.get(
                    f"https://{node.address}:{HTTPS_PORTS['query']}/statistics",
                    verify=site.tls("pacs", client=True),
                    timeout=_IMAGES_TIMEOUT_S,
                )
                total += int(answer.raise_for_status().json()["CountInstances"])
                break
            except (HapacsError, httpx.HTTPError, OSError, ValueError, KeyError):
                continue
        else:
            return None
    return total


def _allocated_bytes(directory: Path) -> int:
    """Return what the files below a directory use on its disk; the holes of disk images use nothing."""
    files = (Path(parent) / file for parent, _, names in os.walk(directory) for file in names)
    return sum(512 * file.lstat().st_blocks for file in files)
