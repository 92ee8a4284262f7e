"""Pulumi's view of the lab: what it can make, see, compare, change and remove.

Providers are pickled into the state: they hold nothing, and everything they need is in their properties. Making and
changing are the same idempotent call, so an interrupted `up` is simply run again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from pulumi.dynamic import CreateResult, DiffResult, ReadResult, ResourceProvider, UpdateResult

from hapacs import ssh
from hapacs.targets.lab import loops, networks, nodes
from hapacs.targets.lab.podman import LabError

type Properties = dict[str, Any]


class LabProvider(ResourceProvider, ABC):
    """A resource of the lab that can be looked at and put right.

    Attributes
    ----------
    identity
        Properties that name the thing: with another value it is another thing, and the old one goes first.
    ignored
        Properties that only matter when it is made.
    wanted
        Outputs that `look` finds, and the value that needs no change.
    """

    identity: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    wanted: Properties = {}  # noqa: RUF012 - never changed

    @abstractmethod
    def name(self, properties: Properties) -> str:
        """Return the name that podman or the kernel knows it by."""

    @abstractmethod
    def put_right(self, properties: Properties) -> Properties:
        """Make it, or make it what the properties say, and return what is new about it."""

    @abstractmethod
    def look(self, properties: Properties) -> Properties | None:
        """Return what is different from the properties and the wanted outputs, or None when it is not there."""

    @abstractmethod
    def remove(self, properties: Properties) -> None:
        """Remove it; fine when it is gone."""

    def create(self, props: Properties) -> CreateResult:
        """Make the thing, or adopt what an interrupted run left."""
        return CreateResult(self.name(props), props | self.wanted | self.put_right(props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> UpdateResult:
        """Put the thing right."""
        # The address of a device is only in the old properties: it is kept where that is possible.
        return UpdateResult(_news | self.wanted | self.put_right(_olds | _news))

    def read(self, id_: str, props: Properties) -> ReadResult:
        """Look at the thing; an empty id says that it is gone."""
        seen = self.look(props)
        return ReadResult("", {}) if seen is None else ReadResult(id_, props | self.wanted | seen)

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> DiffResult:
        """Compare what was found with what is asked for."""
        asked = {
            key: value for key, value in _news.items() if key not in self.ignored and value is not None
        } | self.wanted
        changed = [key for key, value in asked.items() if not key.startswith("__") and _olds.get(key) != value]
        replaces = [key for key in self.identity if key in changed]
        return DiffResult(changes=bool(changed), replaces=replaces, delete_before_replace=True)

    def delete(self, _id: str, _props: Properties) -> None:
        """Remove the thing."""
        self.remove(_props)


class NetworkProvider(LabProvider):
    """A podman bridge."""

    identity = ("name", "deployment")

    def name(self, properties: Properties) -> str:
        """Return the network's name."""
        return str(properties["name"])

    def put_right(self, properties: Properties) -> Properties:
        """Make the network."""
        wanted = networks.Network(*(str(properties[key]) for key in ("name", "deployment", "subnet", "gateway")))
        networks.ensure(wanted)
        return {}

    def look(self, properties: Properties) -> Properties | None:
        """Return the network's addresses as they are."""
        found = networks.find(self.name(properties))
        if found is None or found.deployment != properties["deployment"]:
            return None
        return {"subnet": found.subnet, "gateway": found.gateway}

    def remove(self, properties: Properties) -> None:
        """Remove the network."""
        networks.remove(self.name(properties), str(properties["deployment"]))


class DiskProvider(LabProvider):
    """A sparse file and the loop device that it is attached to.

    Removing it detaches the device; the file goes with the deployment's state, in ``hapacs down``.
    """

    identity = ("path",)
    wanted = {"attached": True}  # noqa: RUF012 - never changed

    def name(self, properties: Properties) -> str:
        """Return the file's path."""
        return str(properties["path"])

    def put_right(self, properties: Properties) -> Properties:
        """Make the file unless it exists, and attach it."""
        path = Path(properties["path"])
        loops.make_file(path, int(properties["size_bytes"]))
        return {"device": loops.attach(path, str(properties.get("device") or ""))}

    def look(self, properties: Properties) -> Properties | None:
        """Return size and device as they are."""
        path = Path(properties["path"])
        if not path.exists():
            return None
        device = loops.attached(path)
        return {
            "size_bytes": path.stat().st_size,
            "device": device or properties.get("device"),
            "attached": device is not None,
        }

    def remove(self, properties: Properties) -> None:
        """Detach the device."""
        loops.detach(Path(properties["path"]))


class NodeProvider(LabProvider):
    """A container that is a machine."""

    identity = ("container", "deployment")
    ignored = ("image",)
    wanted = {"state": "running"}  # noqa: RUF012 - never changed

    def name(self, properties: Properties) -> str:
        """Return the container's name."""
        return str(properties["container"])

    def put_right(self, properties: Properties) -> Properties:
        """Make the node, or start it, and wait until it answers."""
        node = _node(properties)
        nodes.ensure(node)
        return {"fingerprint": node.fingerprint}

    def look(self, properties: Properties) -> Properties | None:
        """Return the container's state."""
        found = nodes.find(self.name(properties))
        if found is None or found.deployment != properties["deployment"]:
            return None
        state = found.state if found.fingerprint == properties.get("fingerprint") else "changed"
        return {"state": state}

    def remove(self, properties: Properties) -> None:
        """Remove the container; its data directory and disks stay."""
        nodes.remove(self.name(properties), str(properties["deployment"]))
        ssh.unpin(_node(properties).keys / "known_hosts", str(properties["address"]))


def _node(properties: Properties) -> nodes.Node:
    devices = properties["devices"]
    if not all(isinstance(device, str) for device in devices):
        raise LabError("A disk of the node has no device.", "Run `hapacs up` again; it attaches the disks first.")
    words = {
        key: str(properties[key]) for key in ("container", "deployment", "hostname", "network", "address", "image")
    }
    return nodes.Node(**words, devices=tuple(devices), data=Path(properties["data"]), keys=Path(properties["keys"]))
