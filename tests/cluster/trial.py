"""A separate deployment for the tests: the lab's settings with another name and other networks.

A lab that is already up on this machine, and its data, stay untouched.
"""

from __future__ import annotations

import shutil

from hapacs.deployment import PROJECT, Deployment

NAME = "trial"
_NETWORKS = {"10.89.77.": "10.89.70.", "10.89.76.": "10.89.69."}
_FILES = ("settings.yaml", "pulumi_stack.yml")


def write() -> Deployment:
    """Write the deployment's files and return it; secrets of an earlier run are kept."""
    source, directory = PROJECT / "inventories" / "lab", PROJECT / "inventories" / NAME
    directory.mkdir(exist_ok=True)
    for name in _FILES:
        text = (source / name).read_text(encoding="utf-8").replace("deployment: lab\n", f"deployment: {NAME}\n")
        for network, other in _NETWORKS.items():
            text = text.replace(network, other)
        (directory / name).write_text(text, encoding="utf-8")
    return Deployment.load(NAME)


def forget(deployment: Deployment) -> None:
    """Remove the deployment's files, unless it still has machines or secrets to reach them with."""
    if not deployment.state.exists() and not deployment.secrets_file.exists():
        shutil.rmtree(deployment.directory)
