"""The golden image: the `install` half of every role, run once, so that bringing nodes up is configuration only.

Its name contains a hash of its content. It is cached in podman's image store: `down` keeps it, and the next `up` bakes
it again when it is missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import yaml

from hapacs import backport, playbook, ssh, status_page, viewer, wheelhouse
from hapacs.deployment import PROJECT, cache_directory
from hapacs.targets.lab import base_image, networks, nodes
from hapacs.targets.lab.podman import LABEL, inspect, leave, podman

REPOSITORY = "localhost/hapacs/node"
_BAKER = "hapacs-bake"
_ANSIBLE = PROJECT / "ansible"
_WORD = re.compile(r"\w+")
# An image must not contain the identity of a machine or files that can be downloaded again.
_CLEAN = """
set -e
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /tmp/* /var/tmp/* /home/hapacs/.ssh /home/hapacs/.ansible
rm -f /etc/ssh/ssh_host_*
printf '%s\\n' "$1" >/etc/hapacs/image-id.new && mv /etc/hapacs/image-id.new /etc/hapacs/image-id
journalctl --quiet --rotate --vacuum-size=1K || true
: >/etc/machine-id
sync
"""


def identifier() -> str:
    """Return the hash of all inputs of the image.

    For each role: its install tasks, and the files, templates and variables that they name.
    """
    parts: dict[str, Any] = {
        "base": base_image.tag(),
        "requirements": [path.read_text(encoding="utf-8") for path in (wheelhouse.REQUIREMENTS, wheelhouse.ARCHIVE)],
        "viewer.json": viewer.identifier(),
        "backport": backport.identifier(),
        "clean": _CLEAN,
    }
    bake = _ANSIBLE / "playbooks" / "bake.yml"
    parts["bake.yml"] = _uses([bake.read_text(encoding="utf-8")], [])
    for role in sorted((_ANSIBLE / "roles").glob("*/")):
        texts = [path.read_text(encoding="utf-8") for path in sorted((role / "tasks").glob("install*.yml"))]
        used = _uses(texts, [role / "defaults" / "main.yml", role / "vars" / "main.yml"])
        parts[role.name] = [texts, used, _files(role, "\n".join([*texts, *map(str, used.values())]))]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def tag() -> str:
    """Return the image's name."""
    return f"{REPOSITORY}:{identifier()}"


def ensure(on_step: Callable[[str], None] = lambda _: None) -> str:
    """Bake the image unless it is there, and return its name.

    Parameters
    ----------
    on_step
        Called with the name of each step.
    """
    identity = identifier()
    name = f"{REPOSITORY}:{identity}"
    if inspect("image", name) is not None:
        return name
    work = cache_directory() / "images"
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (work / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if inspect("image", name) is None:
            on_step("base image: Debian 13")
            base = base_image.ensure()
            on_step("packages for the nodes")
            wheelhouse.ensure()
            backport.ensure(on_step)
            on_step("viewer for the nodes")
            viewer.ensure()
            with _baker(base, work) as node:
                on_step("installing into the image")
                playbook.run(
                    "bake",
                    inventory=_inventory(node, work),
                    logs=work / "logs",
                    variables={"hapacs_image_id": identity, **package_variables()},
                    on_task=on_step,
                )
                on_step("saving the image")
                podman("exec", _BAKER, "sh", "-c", _CLEAN, "sh", identity)
                # No process may write into it between cleaning and saving.
                podman("kill", "--signal", "KILL", _BAKER)
                podman("commit", "--quiet", "--change", 'CMD ["/sbin/init"]', _BAKER, name)
    base_image.prune(REPOSITORY, name)
    return name


def package_variables() -> dict[str, str]:
    """Return the paths of what Debian mirrors don't have: Python packages, Orthanc's packages, viewer, status page."""
    return {
        "hapacs_wheelhouse_directory": str(wheelhouse.directory()),
        "hapacs_node_wheel": str(wheelhouse.node_wheel()),
        "hapacs_viewer_bundle": str(viewer.path()),
        "hapacs_status_bundle": str(status_page.path()),
        "hapacs_backport_directory": str(backport.directory()),
    }


def _uses(texts: list[str], variable_files: list[Path]) -> dict[str, object]:
    """Return the variables that some tasks name, directly or through other variables."""
    variables: dict[str, object] = {}
    shared = sorted((_ANSIBLE / "playbooks" / "group_vars").rglob("*.yml"))
    for path in [*variable_files, *shared]:
        if path.is_file():
            variables |= yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    used: dict[str, object] = {}
    waiting = list(texts)
    while waiting:
        words = set(_WORD.findall(waiting.pop()))
        for key in sorted(words & variables.keys() - used.keys()):
            used[key] = variables[key]
            waiting.append(str(variables[key]))
    return used


def _files(role: Path, named: str) -> dict[str, str]:
    """Return the contents of a role's files and modules whose names occur in ``named``."""
    return {
        str(path.relative_to(role)): path.read_text(encoding="utf-8", errors="replace")
        for kind in ("files", "templates", "library")
        for path in sorted((role / kind).rglob("*"))
        if path.is_file() and path.name.removesuffix(".j2").removesuffix(".py") in named
    }


@contextmanager
def _baker(base: str, work: Path) -> Iterator[nodes.Node]:
    """Run the node from which the image is made; it is always removed afterwards."""
    _remove_baker()
    podman("network", "create", "--disable-dns", "--label", f"{LABEL}={_BAKER}", _BAKER)
    network = networks.find(_BAKER)
    # podman chose a free subnet.
    address = str(list(ip_network(network.subnet if network else "").hosts())[9])
    node = nodes.Node(_BAKER, _BAKER, "image", _BAKER, address, base, (), work / "data", work / "ssh")
    try:
        nodes.ensure(node)
        yield node
    finally:
        _remove_baker()
        ssh.unpin(work / "ssh" / "known_hosts", address)
        leave()


def _remove_baker() -> None:
    nodes.remove(_BAKER, _BAKER)
    networks.remove(_BAKER, _BAKER)


def _inventory(node: nodes.Node, work: Path) -> Path:
    known_hosts = node.keys / "known_hosts"
    options = f"-o UserKnownHostsFile={known_hosts} -o StrictHostKeyChecking=yes"
    host = {
        "ansible_host": node.address,
        "ansible_user": ssh.USER,
        "ansible_ssh_private_key_file": str(node.keys / "id_ed25519"),
        "ansible_ssh_common_args": options,
        "ansible_become": True,
    }
    path = work / "inventory.yml"
    path.write_text(yaml.safe_dump({"image": {"hosts": {"image": host}}}), encoding="utf-8")
    return path
