"""DCMTK's programs (findscu, movescu, ...), as workstations and modalities use them."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydicom.uid import generate_uid

from tests.conformance.dcmtk import ends, find, program
from tests.conformance.target import Made, Target, Word, differences, run
from tests.support.scheduled import document

CLIENT = "DCMTK"
STUDY_ROOT, PATIENT_ROOT = "-S", "-P"

pytestmark = pytest.mark.timeout(10 * 60)


def test_echo(target: Target, tmp_path: Path) -> None:
    """C-ECHO to each title."""
    for title in filter(None, (target.store, target.query, target.worklist)):
        done = run([program("echoscu"), *ends(target, title)], tmp_path)
        assert done.returncode == 0, f"{title}: {done.stderr}"


def test_echo_by_tls(target: Target, tmp_path: Path) -> None:
    """C-ECHO by DICOM TLS with a certificate."""
    tls: list[Word] = ["+tls", target.key, target.certificate, "+cf", target.authority]
    words: list[Word] = ["-aet", target.calling, "-aec", target.query, target.host, target.tls_port]
    done = run([program("echoscu"), *tls, *words], tmp_path)
    assert done.returncode == 0, done.stderr


def test_tls_without_a_certificate(target: Target, tmp_path: Path) -> None:
    """DICOM TLS without a certificate is refused."""
    words: list[Word] = ["-aet", target.calling, "-aec", target.query, target.host, target.tls_port]
    assert run([program("echoscu"), "+tla", "+cf", target.authority, *words], tmp_path).returncode != 0


def test_unknown_titles(target: Target, tmp_path: Path) -> None:
    """Unknown titles are rejected, with the reason."""
    for words, reason in (
        (ends(target, target.query, calling="STRANGER"), "Calling AE Title Not Recognized"),
        (ends(target, "NO_SUCH_TITLE"), "Called AE Title Not Recognized"),
    ):
        done = run([program("echoscu"), *words], tmp_path)
        assert done.returncode != 0
        assert reason in done.stdout + done.stderr


def test_store(made: Made) -> None:
    """C-STORE of CT (uncompressed, RLE, JPEG 2000), ultrasound and SR."""
    assert len(made.files) == 6


@pytest.mark.parametrize("root", [STUDY_ROOT, PATIENT_ROOT], ids=["study root", "patient root"])
def test_find_levels(target: Target, made: Made, tmp_path: Path, root: str) -> None:
    """C-FIND of a study, its series and images, by its UID."""
    study = f"StudyInstanceUID={made.uid}"
    patient = f"PatientID={made.patient}"
    answers = find(target, target.query, tmp_path, root, "QueryRetrieveLevel=STUDY", study, patient, "PatientName")
    assert len(answers) == 1
    assert f"{made.patient}^Conformance" in answers[0]
    series = find(
        target, target.query, tmp_path, root, "QueryRetrieveLevel=SERIES", study, patient, "SeriesInstanceUID"
    )
    images = find(target, target.query, tmp_path, root, "QueryRetrieveLevel=IMAGE", study, patient, "SOPInstanceUID")
    assert (len(series), len(images)) == (6, 6)


def test_find_patients(target: Target, made: Made, tmp_path: Path) -> None:
    """C-FIND of a patient, with a wildcard in its name."""
    keys = ("QueryRetrieveLevel=PATIENT", f"PatientName={made.patient[:-2].lower()}*", f"PatientID={made.patient}")
    assert len(find(target, target.query, tmp_path, PATIENT_ROOT, *keys)) == 1


def test_find_nothing(target: Target, tmp_path: Path) -> None:
    """C-FIND of what is not there has no answer, and is a success."""
    keys = ("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={generate_uid()}")
    assert find(target, target.query, tmp_path, STUDY_ROOT, *keys) == []


@pytest.mark.parametrize("root", [STUDY_ROOT, PATIENT_ROOT], ids=["study root", "patient root"])
def test_move(target: Target, made: Made, tmp_path: Path, root: str) -> None:
    """C-MOVE of a study to itself, every image with equal attributes and pixels."""
    came = tmp_path / "came"
    came.mkdir()
    # As a Patient Root Retrieve, the patient is a key too (PS3.4 C.4.2.2.1).
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"PatientID={made.patient}", "-k", f"StudyInstanceUID={made.uid}"]
    done = run(
        [program("movescu"), "-v", "+xa", root, "-aem", target.calling, "+P", target.receives_at, "-od", came,
         *keys, *ends(target, target.query)],
        tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert differences(made, came) == {}


def test_move_to_nobody(target: Target, made: Made, tmp_path: Path) -> None:
    """C-MOVE to an unknown destination is answered A801."""
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={made.uid}"]
    done = run([program("movescu"), "-d", "-S", "-aem", "NOBODY", *keys, *ends(target, target.query)], tmp_path)
    assert "0xa801" in (done.stdout + done.stderr).lower()


def test_get(target: Target, made: Made, tmp_path: Path) -> None:
    """C-GET of a study, uncompressed, every image with equal attributes and pixels."""
    came = tmp_path / "came"
    came.mkdir()
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={made.uid}"]
    done = run([program("getscu"), "-v", "-S", "-od", came, *keys, *ends(target, target.query)], tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert differences(made, came) == {}


@pytest.fixture
def scheduled(target: Target) -> Iterator[str]:
    """Send an entry of the worklist as a RIS does; return its accession number."""
    if not target.worklist:
        pytest.skip("the site has no worklist")
    context = ssl.create_default_context(cafile=str(target.authority))
    number = generate_uid()[-12:]
    with httpx.Client(base_url=target.web, auth=(target.user, target.password), verify=context, timeout=60) as ris:
        entry = document({"ScheduledStationAETitle": "CONFORMANCE"}, AccessionNumber=number)
        answer = ris.post("/worklist", json=entry)
        assert answer.status_code == httpx.codes.CREATED, answer.text
        yield number
        assert ris.delete(answer.headers["Location"]).status_code == httpx.codes.NO_CONTENT


def test_worklist(target: Target, scheduled: str, tmp_path: Path) -> None:
    """C-FIND of the modality worklist, by the keys of a modality."""
    step = "ScheduledProcedureStepSequence[0]"
    keys = (
        "AccessionNumber", "PatientName", f"{step}.ScheduledStationAETitle=CONFORMANCE", f"{step}.Modality=CT",
        f"{step}.ScheduledProcedureStepStartDate=20300101-20300131", "SpecificCharacterSet=ISO_IR 100",
    )  # fmt: skip
    answers = find(target, target.worklist, tmp_path, "-W", *keys)
    assert len([answer for answer in answers if scheduled in answer]) == 1
    others = find(target, target.worklist, tmp_path, "-W", "AccessionNumber", f"{step}.Modality=US")
    assert [answer for answer in others if scheduled in answer] == []
