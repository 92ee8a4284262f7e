"""Routing on a host: rules of the settings reach a running site, and a stored image reaches dcmtk's storescp."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from hapacs.dicom import Caller, Peer, Sample, read_sample, store
from tests.molecule.tls import certified
from tests.support.storescp import StoreScp

# This machine, as the host sees it; no other test listens there.
PEER = {"ae_title": "PEER", "host": "10.89.79.1", "port": 11192, "calling_ae": "HAPACS"}
RULE = {
    "name": "routed",
    "when": [{"attribute": "StudyDescription", "equals": "ROUTED"}],
    "destinations": ["peer"],
}
NOTHING: dict[str, Any] = {"destinations": {}, "rules": []}

type Load = Callable[[dict[str, Any]], str]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[StoreScp]:
    server = StoreScp(int(str(PEER["port"])), tmp_path / "received")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def load(host: Any, apply: Callable[..., subprocess.CompletedProcess[str]]) -> Iterator[Load]:
    """Return a function that brings other settings to the site, as `hapacs up` does; the test leaves no rule behind."""

    def run(routing: dict[str, Any]) -> str:
        done = apply(host, "--tags=routing_configure,routing_run", hapacs_routing=routing)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    yield run
    run(NOTHING)


def status(host: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(host.check_output("/opt/hapacs/venv/bin/hapacs-node route status --json"))
    return answer


def image(path: Path) -> Sample:
    """Make an image with pixels that no codec understands."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(CTImageStorage), generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientID, dataset.PatientName, dataset.Modality = "ROUTING", "Test^Routing", "CT"
    dataset.StudyDescription = "ROUTED"
    dataset.PixelData = bytes(range(256)) * 40
    dataset["PixelData"].VR = "OW"
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    sample = read_sample(path)
    assert isinstance(sample, Sample)
    return sample


@pytest.fixture
def store_one(address: str, authorities: Path, tmp_path: Path) -> Callable[[], Sample]:
    """Return a function that stores an image by C-STORE."""

    def run() -> Sample:
        sample = image(tmp_path / "image.dcm")
        caller = Caller("MODALITY", certified(authorities, "pacs"))
        [outcome] = store(caller, Peer(address, 4242, "HAPACS", timeout_s=60), [sample])
        assert outcome.status == 0
        return sample

    return run


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"{what} did not come within {timeout_s} s"
        time.sleep(1)


def test_service_runs_and_is_enabled(host: Any) -> None:
    assert host.service("hapacs-routing").is_running
    assert host.service("hapacs-routing").is_enabled


def test_metrics_are_for_the_node_itself(host: Any, listening: set[str]) -> None:
    assert "hapacs_routing_rules_invalid 0.0" in host.check_output("curl --silent --fail http://127.0.0.1:9330/metrics")
    assert not {place for place in listening if place.endswith(":9330")}


def test_a_site_without_rules_writes_no_rows(host: Any, store_one: Callable[[], Sample]) -> None:
    store_one()
    assert status(host) == {"ok": True, "version": 0, "unplanned": 0, "unmatched_today": 0, "destinations": []}


def test_a_rule_that_comes_to_the_running_site_sends_what_is_stored_then(
    host: Any, store_one: Callable[[], Sample], peer: StoreScp, load: Load
) -> None:
    rules = {"destinations": {"peer": PEER}, "rules": [RULE]}
    started = host.check_output("systemctl show --property MainPID --value hapacs-routing")
    load(rules)
    assert "changed=0 " in load(rules)
    assert host.check_output("systemctl show --property MainPID --value hapacs-routing") == started
    sample = store_one()
    wait_until(lambda: status(host)["destinations"][0]["confirmed"] == 1, "the confirmation")
    received = peer.received()
    assert set(received) == {sample.sop_instance}
    assert received[sample.sop_instance].read_bytes().endswith(sample.dataset_bytes)


def test_a_folder_gets_the_image_by_a_service_that_may_write_there(
    host: Any, store_one: Callable[[], Sample], load: Load
) -> None:
    host.check_output("install --directory --owner orthanc --group orthanc --mode 0750 /srv/export")
    share = {"kind": "folder", "path": "/srv/export", "must_be_mount": False}
    load({"destinations": {"share": share}, "rules": [RULE | {"destinations": ["share"]}]})
    sample = store_one()

    def confirmed() -> int:
        return sum(one["confirmed"] for one in status(host)["destinations"] if one["destination"] == "share")

    wait_until(lambda: confirmed() == 1, "the confirmation")
    file = f"/srv/export/{sample.study}/{sample.series}/{sample.sop_instance}.dcm"
    assert host.file(file).user == "orthanc"
    sent = host.check_output(f"tail --bytes={len(sample.dataset_bytes)} {file} | sha256sum").split()[0]
    assert sent == hashlib.sha256(sample.dataset_bytes).hexdigest()
