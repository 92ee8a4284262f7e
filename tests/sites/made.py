"""Deployments that a test makes: their files in the tree, and the command line on them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from hapacs.deployment import PROJECT, Deployment
from hapacs.targets.lab import teardown

_TIMEOUT_S = 30 * 60


def write(settings: Mapping[str, Any], variables: Mapping[str, Mapping[str, Any]] | None = None) -> Deployment:
    """Write a deployment's files.

    Parameters
    ----------
    settings
        Content of the settings file; it names the deployment.
    variables
        Variables of the inventory's groups, by group.
    """
    name = str(settings["deployment"])
    directory = PROJECT / "inventories" / name
    (directory / "group_vars").mkdir(parents=True, exist_ok=True)
    (directory / "settings.yaml").write_text(yaml.safe_dump(dict(settings)), encoding="utf-8")
    source = {"plugin": "pulumi_stack", "deployment": name}
    (directory / "pulumi_stack.yml").write_text(yaml.safe_dump(source), encoding="utf-8")
    for group, values in (variables or {}).items():
        (directory / "group_vars" / f"{group}.yml").write_text(yaml.safe_dump(dict(values)), encoding="utf-8")
    return Deployment.load(name)


@contextmanager
def removed_at_the_end(deployment: Deployment) -> Iterator[Deployment]:
    """Remove the deployment's machines, state and files, also after a failed test."""
    try:
        yield deployment
    finally:
        teardown.sweep(deployment)
        shutil.rmtree(deployment.directory)


def hapacs(*words: str) -> subprocess.CompletedProcess[str]:
    """Run ``hapacs`` as an operator does."""
    command = [str(Path(sys.executable).parent / "hapacs"), *words]
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, timeout=_TIMEOUT_S, env=environment, check=False
    )


def output(done: subprocess.CompletedProcess[str]) -> str:
    """Return the end of what a command printed, for the message of a failed test."""
    return f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
