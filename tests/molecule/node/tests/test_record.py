"""What the journal says of images and requests: each store, refusal, return, search and removal, with its caller."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydicom import Dataset

from hapacs.dicom import Caller, DicomError, Sample, find, get, multipart, store
from hapacs.load.waiting import eventually
from hapacs_node.storage.bridge import LIMIT_S
from tests.molecule.node.tests.test_orthanc import RETRIEVE_PORT, peer, samples, tls, url, web

__all__ = ["samples", "tls", "web"]
BALANCER = {"X-Hapacs-User": "anna", "X-Forwarded-For": "192.0.2.9"}
WAIT_S = 10


@pytest.fixture(scope="module")
def sample(samples: list[Sample]) -> Sample:
    return samples[0]


@pytest.fixture
def events(host: Any, sample: Sample) -> Callable[..., list[dict[str, str]]]:
    """Return a function that waits for an event of the sample with some fields, and returns all of that name."""

    def of(name: str, **fields: str) -> list[dict[str, str]]:
        deadline = time.monotonic() + WAIT_S
        while True:
            answer = json.loads(host.run(f"hapacs-node instance {sample.sop_instance} --json").stdout)
            found = [event for event in answer["events"] if event["event"] == name]
            matching = [event for event in found if event | fields == event]
            if matching or time.monotonic() > deadline:
                assert matching, f"no {name} with {fields} among {found}"
                return matching
            time.sleep(0.5)

    return of


def test_c_store_is_recorded_with_title_digest_and_time(
    address: str, tls: ssl.SSLContext, sample: Sample, events: Callable[..., list[dict[str, str]]]
) -> None:
    (outcome,) = store(Caller("MODALITY", tls), peer(address, "store"), [sample])
    assert outcome.stored
    event = events("stored", caller="MODALITY", outcome="stored")[-1]
    assert (event["study"], event["series"], event["sop"]) == (sample.study, sample.series, sample.sop_instance)
    assert len(event["digest"]) == 64
    assert 0 < float(event["seconds"]) < 60
    assert int(event["size"]) > 0
    assert event["unit"] == "orthanc-store"
    assert event["address"]


def test_look_up_names_the_sender(host: Any, sample: Sample) -> None:
    answer = json.loads(host.check_output(f"hapacs-node instance {sample.sop_instance} --json"))
    (report,) = (one for one in answer["objects"] if "instance" in one)
    assert report["received"]["calling_title"] == "MODALITY"
    assert report["received"]["called_title"] == "HAPACS"
    assert report["received"]["protocol"] == "DicomProtocol"
    assert (report["study"], report["series"]) == (sample.study, sample.series)


def test_c_get_is_recorded_for_each_image(
    address: str, tls: ssl.SSLContext, sample: Sample, events: Callable[..., list[dict[str, str]]]
) -> None:
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "IMAGE", sample.study
    query.SeriesInstanceUID, query.SOPInstanceUID = sample.series, sample.sop_instance
    assert get(Caller("WORKSTATION", tls), peer(address, "query"), query, [sample]).datasets
    assert events("retrieved", unit="orthanc-query", outcome="sent", caller="WORKSTATION", status="0000")


def test_stow_qido_and_wado_are_recorded_with_the_user(
    host: Any, address: str, web: httpx.Client, sample: Sample, events: Callable[..., list[dict[str, str]]]
) -> None:
    kind, body = multipart.encode([sample.path.read_bytes()], "application/dicom")
    studies = url(address, "store", "/dicom-web/studies")
    assert web.post(studies, headers=BALANCER | {"Content-Type": kind}, content=body).status_code == 200
    assert events("stored", user="anna", address="192.0.2.9")
    path = f"/dicom-web/studies/{sample.study}/series/{sample.series}/instances/{sample.sop_instance}"
    web.get(url(address, "query", f"{path}/metadata"), headers=BALANCER).raise_for_status()
    assert events("requested", what="metadata", user="anna", address="192.0.2.9")
    answer = web.get(f"https://{address}:{RETRIEVE_PORT}{path}", headers=BALANCER | {"Accept": multipart.AS_STORED})
    assert answer.status_code == 200
    assert events("retrieved", user="anna", objects="1", outcome="sent")
    web.get(url(address, "query", "/dicom-web/studies?PatientName=Nobody"), headers=BALANCER).raise_for_status()
    wanted = "event=queried what=studies user=anna address=192.0.2.9"

    def queried() -> str:
        return str(host.check_output("journalctl --no-pager --output cat HAPACS_EVENT=queried"))

    # The journal takes an event after the answer.
    eventually("the search in the journal", lambda: wanted in queried(), WAIT_S)
    assert "Nobody" not in queried()


def test_removal_is_recorded_and_the_image_is_still_found(
    host: Any, address: str, web: httpx.Client, sample: Sample, events: Callable[..., list[dict[str, str]]]
) -> None:
    answer = json.loads(host.run(f"hapacs-node instance {sample.sop_instance} --json").stdout)
    # What was replaced is listed too.
    (report,) = (one for one in answer["objects"] if "instance" in one)
    web.delete(url(address, "store", f"/instances/{report['instance']}"), headers=BALANCER).raise_for_status()
    assert events("removed", outcome="removed", user="anna", digest=report["digest"])
    answer = json.loads(host.run(f"hapacs-node instance {sample.sop_instance} --json").stdout)
    assert [row["tombstoned_at"] is not None for one in answer["objects"] for row in one["catalog"]]
    (study,) = (
        study
        for study in json.loads(host.check_output("hapacs-node study deleted --json"))["studies"]
        if study["study"] == sample.study
    )
    assert study["missing"] >= 1
    assert "user:anna" in study["callers"]


def test_a_removed_image_is_restored_with_equal_bytes(
    host: Any, address: str, web: httpx.Client, sample: Sample, events: Callable[..., list[dict[str, str]]]
) -> None:
    command = f"hapacs-node study restore {sample.study} --store {url(address, 'store', '')} --operator tester --json"
    answer = json.loads(host.run(command).stdout)
    (restored,) = (image for image in answer["images"] if image["sop"] == sample.sop_instance)
    assert restored["state"] == "restored"
    assert events("restored", digest=restored["digest"], operator="tester")
    (report,) = web.get(url(address, "query", f"/hapacs/instances/{sample.sop_instance}")).json()
    assert (report["ok"], report["digest"]) == (True, restored["digest"])
    again = json.loads(host.run(command).stdout)
    assert {image["state"] for image in again["images"]} == {"present"}


def test_store_without_the_das_is_recorded_and_refused_after_a_minute(
    host: Any, address: str, tls: ssl.SSLContext, samples: list[Sample], events: Callable[..., list[dict[str, str]]]
) -> None:
    host.check_output("chmod 0 /srv/das/incoming")
    try:
        (outcome,) = store(Caller("MODALITY", tls), peer(address, "store"), samples[:1])
        assert outcome.stored
        said = "journalctl --unit=orthanc-store --since=-60s --output=cat --grep=stored_without_online_copy"
        eventually("the journal has it", lambda: host.run(said).rc == 0, WAIT_S, 0.5)
        time.sleep(LIMIT_S + 1)
        (outcome,) = store(Caller("MODALITY", tls), peer(address, "store"), samples[:1])
        assert not outcome.stored
    finally:
        host.check_output("chmod 750 /srv/das/incoming")
    assert events("refused", caller="MODALITY", outcome="DasError")


def test_search_by_association_leaves_no_name_in_the_journal(host: Any, address: str, tls: ssl.SSLContext) -> None:
    query = Dataset()
    query.QueryRetrieveLevel, query.PatientName, query.StudyInstanceUID = "STUDY", "Nobody^Known", ""
    find(Caller("WORKSTATION", tls), peer(address, "query"), query)
    with pytest.raises(DicomError):
        find(Caller("MODALITY", tls), peer(address, "query"), query)
    assert "Nobody" not in host.check_output("journalctl --no-pager --output cat --unit orthanc-query")
