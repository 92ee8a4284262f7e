"""Nodes of the lab: containers that boot systemd like a machine."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from hapacs import ssh
from hapacs.targets.lab import networks
from hapacs.targets.lab.podman import LABEL, LabError, check_owner, inspect, podman

SPEC_LABEL = "org.hapacs.spec"
# States from which a container goes on; one that podman failed to make or to remove is made again.
_KEPT = {"created", "configured", "initialized", "running", "paused", "exited", "stopped"}
_USER_ID = 1000  # of the user `hapacs` in the base image


@dataclass(frozen=True)
class Node:
    """What a node is made of.

    Parameters
    ----------
    container, deployment, hostname
        podman's name of it, whose it is, and the name it calls itself.
    network, address
        The network of the lab and the fixed address in it.
    image
        Where it starts from. A node that exists keeps the image it was made of: roles bring it up to date.
    devices
        Block devices of this machine that the node gets, under the same names.
    data
        Directory of this machine that is ``/srv/data`` in the node: what must outlive the container.
    keys
        Directory with ``id_ed25519`` (opens the node), ``known_hosts`` and the host keys in ``hosts/``.
    """

    container: str
    deployment: str
    hostname: str
    network: str
    address: str
    image: str
    devices: tuple[str, ...]
    data: Path
    keys: Path

    @property
    def fingerprint(self) -> str:
        """A hash that changes when the container must be made again."""
        parts = {name: value for name, value in asdict(self).items() if name not in {"image", "keys"}}
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Found:
    """What podman knows of a container."""

    deployment: str
    fingerprint: str
    state: str


def find(container: str) -> Found | None:
    """Return the container as podman has it."""
    found = inspect("container", container)
    if found is None:
        return None
    labels = found["Config"].get("Labels") or {}
    return Found(labels.get(LABEL, ""), labels.get(SPEC_LABEL, ""), found["State"]["Status"])


def ensure(node: Node) -> None:
    """Make the node and wait until it answers; adopt our own leftover, refuse a foreign one."""
    host_key = node.keys / "hosts" / node.hostname / "ssh_host_ed25519_key"
    user_key = node.keys / "id_ed25519"
    host_public = ssh.make_key(host_key, f"root@{node.hostname}")
    user_public = ssh.make_key(user_key, f"hapacs-{node.deployment}")
    ssh.pin(node.keys / "known_hosts", node.address, host_public)
    found = find(node.container)
    if found is not None:
        check_owner("container", node.container, {LABEL: found.deployment}, node.deployment)
        if found.fingerprint != node.fingerprint or found.state not in _KEPT:
            remove(node.container, node.deployment)
            found = None
    if found is None:
        _create(node)
    state = found.state if found else "created"
    if state in {"created", "configured"}:
        files = _identity(node, host_key, host_public, user_public)
        podman("cp", "--archive=false", "-", f"{node.container}:/", stdin=files)
    if state != "running":
        podman("unpause" if state == "paused" else "start", node.container)
    networks.keep_hardware_address(node.network)
    ssh.wait(node.address, user_key, node.keys / "known_hosts")


def remove(container: str, deployment: str) -> None:
    """Remove the container if it is there and ours; its data directory and disks stay."""
    for last in (False, False, True):
        found = find(container)
        if found is None:
            return
        check_owner("container", container, {LABEL: found.deployment}, deployment)
        try:
            podman("rm", "--force", "--time", "0", "--volumes", container)
        except LabError:
            # crun fails ("open pidfd") when a process that it wants to kill ends just then; podman then keeps the
            # container, which no longer runs, and removes it when asked again.
            if last:
                raise
        else:
            return


def _create(node: Node) -> None:
    if inspect("image", node.image) is None:
        raise LabError(f"The image {node.image} is not there.", "`hapacs up` makes it.")
    node.data.mkdir(mode=0o755, parents=True, exist_ok=True)
    podman(
        "create", "--name", node.container, "--hostname", node.hostname,
        "--label", f"{LABEL}={node.deployment}", "--label", f"{SPEC_LABEL}={node.fingerprint}",
        "--network", node.network, "--ip", node.address, "--no-hosts",
        "--privileged", "--systemd=always", "--pids-limit=-1", "--shm-size=256m",
        # A root without CAP_SYS_RESOURCE cannot pass on more than it has itself.
        "--ulimit", "nofile=20000:20000", "--ulimit", "nproc=4096:4096",
        "--log-opt", "max-size=1mb", "--volume", f"{node.data}:/srv/data",
        *(word for device in node.devices for word in ("--device", f"{device}:{device}")),
        node.image, "/sbin/init",
    )  # fmt: skip


def _identity(node: Node, host_key: Path, host_public: str, user_public: str) -> bytes:
    """Return a tar archive of the files that make this container this node."""
    files = [
        ("etc/ssh/ssh_host_ed25519_key", host_key.read_text(encoding="utf-8"), 0o600, 0),
        ("etc/ssh/ssh_host_ed25519_key.pub", f"{host_public}\n", 0o644, 0),
        ("etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n{node.address} {node.hostname}\n", 0o644, 0),
        ("home/hapacs/.ssh", None, 0o700, _USER_ID),
        ("home/hapacs/.ssh/authorized_keys", f"{user_public}\n", 0o600, _USER_ID),
    ]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content, mode, owner in files:
            member = tarfile.TarInfo(name)
            member.mode, member.uid, member.gid, member.mtime = mode, owner, owner, int(time.time())
            if content is None:
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
            else:
                data = content.encode()
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
