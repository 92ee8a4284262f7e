"""Without OverwriteInstances an image is answered with Success and is not kept: an Orthanc with the patch shows it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from hapacs.deployment import PROJECT
from hapacs.dicom import Caller, DicomError, Peer, echo, files
from hapacs.load.archive import orthanc_id
from hapacs.load.connections import CStore
from hapacs.load.images import Image, made_study
from hapacs.load.waiting import eventually
from hapacs.targets.lab import testhost
from hapacs.targets.lab.podman import podman

PATCH = Path(__file__).parent / "patches" / "overwrite-instances.patch"
VARIABLES = Path("ansible", "roles", "orthanc", "vars", "main.yml")
HOST, UNIT = "hapacs-red-overwrite", "red-orthanc.service"
CALLER = Caller("MODALITY")


@dataclass(frozen=True)
class Orthanc:
    """An Orthanc of the nodes' version with an index of its own."""

    address: str

    @property
    def peer(self) -> Peer:
        return Peer(self.address, 4242, "HAPACS", 10)

    def answers(self) -> bool:
        try:
            echo(CALLER, self.peer)
        except DicomError:
            return False
        return True

    def store(self, image: Image) -> str:
        connection = CStore(CALLER, self.peer).connect()
        try:
            return connection.store(image).outcome
        finally:
            connection.close()

    def kept(self, image: Image) -> bytes:
        """Return the data set that is read."""
        name = orthanc_id(image.patient, image.study, image.series, image.sop_instance)
        answer = httpx.get(f"http://{self.address}:8042/instances/{name}/file", timeout=10)
        return files.split(answer.raise_for_status().content)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A host of the golden image."""
    if os.geteuid() != 0 or shutil.which("podman") is None:
        pytest.skip("it needs root and podman: `make setup`")
    yield testhost.up(HOST, 0, "golden", "", "10.89.79.0/24")["address"]
    testhost.down(HOST)


@pytest.fixture
def run(address: str) -> Iterator[Callable[[Path], Orthanc]]:
    """Return a function that runs an Orthanc with the settings of the role in a tree."""

    def start(tree: Path) -> Orthanc:
        common = yaml.safe_load((tree / VARIABLES).read_text(encoding="utf-8"))["__orthanc_common"]
        configuration = {
            "OverwriteInstances": common["OverwriteInstances"],
            "IndexDirectory": "/run/red", "StorageDirectory": "/run/red", "RemoteAccessAllowed": True,
            "AuthenticationEnabled": False, "DicomCheckCalledAet": False, "Plugins": [],
        }  # fmt: skip
        text = json.dumps(configuration).encode()
        podman("exec", "--interactive", HOST, "sh", "-c", "cat >/run/red.json", stdin=text)
        podman("exec", HOST, "systemd-run", "--quiet", f"--unit={UNIT}", "/usr/sbin/Orthanc", "/run/red.json")
        made = Orthanc(address)
        eventually("Orthanc answers", made.answers, 60, 0.5)
        return made

    yield start
    podman("exec", HOST, "sh", "-c", f"systemctl stop {UNIT}; rm -r /run/red /run/red.json")


@pytest.fixture
def patched(tmp_path: Path) -> Path:
    """The role's settings with the patch."""
    (tmp_path / VARIABLES).parent.mkdir(parents=True)
    shutil.copy(PROJECT / VARIABLES, tmp_path / VARIABLES)
    subprocess.run(["git", "apply", str(PATCH)], cwd=tmp_path, check=True)
    return tmp_path


def corrected() -> tuple[Image, Image]:
    """Return an image, and the one by which its sender replaces it: the same UIDs and other pixels."""
    (image,) = made_study(1, 64).images
    return image, dataclasses.replace(image, dataset=image.dataset[:-1] + bytes([image.dataset[-1] ^ 1]))


def test_last_acknowledged_bytes_are_kept(run: Callable[[Path], Orthanc]) -> None:
    orthanc, (first, second) = run(PROJECT), corrected()
    assert (orthanc.store(first), orthanc.store(second)) == ("acknowledged", "acknowledged")
    assert orthanc.kept(second) == second.dataset


def test_patch_loses_acknowledged_bytes(run: Callable[[Path], Orthanc], patched: Path) -> None:
    orthanc, (first, second) = run(patched), corrected()
    assert (orthanc.store(first), orthanc.store(second)) == ("acknowledged", "acknowledged")
    assert orthanc.kept(second) == first.dataset
