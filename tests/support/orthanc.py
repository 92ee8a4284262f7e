"""Orthanc with SQLite and its DICOMweb plugin, from an image of the nodes: a destination that was not written here."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from hapacs.image import REPOSITORY
from hapacs.targets.lab.podman import LabError, podman
from tests.support.ports import listens

_PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


def image() -> str:
    """Return an image that this machine has, or an empty string."""
    if os.geteuid() != 0 or shutil.which("podman") is None:
        return ""
    try:
        names = podman("images", "--format", "{{.Repository}}:{{.Tag}}", REPOSITORY, timeout_s=60).split()
    except LabError:
        return ""
    return next(iter(names), "")


@dataclass
class Orthanc:
    """An Orthanc in a container with the network of this machine.

    Parameters
    ----------
    port
        Port of HTTP on loopback.
    directory
        Its files. The configuration may name others there, as ``/srv/peer/NAME``.
    configuration
        More of its configuration.
    """

    port: int
    directory: Path
    configuration: Mapping[str, object] = field(default_factory=dict)
    _name: str = field(default_factory=lambda: f"hapacs-test-orthanc-{uuid4().hex[:8]}")

    def start(self, timeout_s: float = 120) -> None:
        """Start it, and wait until it takes connections."""
        document = {
            "StorageDirectory": "/srv/peer/data", "IndexDirectory": "/srv/peer/data", "HttpPort": self.port,
            "DicomServerEnabled": False, "Plugins": [_PLUGIN], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
        }  # fmt: skip
        (self.directory / "orthanc.json").write_text(json.dumps(document | dict(self.configuration)))
        podman(
            "run", "--detach", "--rm", "--name", self._name, "--privileged", "--pids-limit=-1",
            "--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096", "--network", "host",
            "--volume", f"{self.directory}:/srv/peer", "--entrypoint", "/usr/sbin/Orthanc",
            image(), "/srv/peer/orthanc.json",
        )  # fmt: skip
        end = time.monotonic() + timeout_s
        while not listens(self.port):
            assert time.monotonic() < end, f"Orthanc takes no connection: {podman('logs', self._name)}"
            time.sleep(0.2)

    def stop(self) -> None:
        """Remove it, also when it does not run."""
        with suppress(LabError):
            podman("rm", "--force", "--time", "2", self._name)
