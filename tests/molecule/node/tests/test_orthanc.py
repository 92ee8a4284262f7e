"""Both Orthancs of a node with everything below them: what they take, what they refuse, and what they may do."""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset
from pydicom.uid import UID, CTImageStorage
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined] # made at import time

from hapacs import sop_classes
from hapacs.dicom import Caller, DicomError, Peer, Sample, echo, find, get, multipart, read_sample, store
from hapacs.dicom.client import MAXIMUM_CONTEXTS, associate
from hapacs.dicom.compare import differences
from hapacs.dicom.files import decode, shipped_with_pydicom, with_meta
from hapacs.verify import port_probe
from tests.molecule.tls import certified
from tests.support import received

SERVICES = ("store", "query")
DICOM_PORTS = {"store": 4242, "query": 4243}
HTTPS_PORTS = {"store": 8042, "query": 8043}
HTTP_PORTS = {"store": 18042, "query": 18043}
RETRIEVE_PORT, STOW_PORT = 8045, 8046
COULD_NOT_CONNECT = 7  # curl(1)
TITLES = {"store": "HAPACS", "query": "HAPACS_QR"}
# Small on the wire, of any size in memory (ADR 17): deflated, and JPIP's two deflated ones.
DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
# Uncompressed of both byte orders, JPEG, JPEG-LS, JPEG 2000, RLE, another character set, and one without pixels.
FILES = {
    "CT_small.dcm",
    "ExplVR_BigEnd.dcm",
    "JPEG-lossy.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "693_J2KI.dcm",
    "SC_rgb_rle.dcm",
    "chrH31.dcm",
    "reportsi.dcm",
}

each_service = pytest.mark.parametrize("service", SERVICES)


@pytest.fixture(scope="module")
def tls(authorities: Path) -> ssl.SSLContext:
    """Make the TLS of DICOM."""
    return certified(authorities, "pacs")


@pytest.fixture(scope="module")
def web(authorities: Path) -> Iterator[httpx.Client]:
    """Make the client of HTTPS: it speaks of HTTP in its TLS, which DICOM's does not understand."""
    with httpx.Client(verify=certified(authorities, "pacs"), timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    found = [read_sample(path) for path in shipped_with_pydicom() if path.name in FILES]
    usable = [sample for sample in found if isinstance(sample, Sample) and not sample.refusal]
    assert {sample.name for sample in usable} == FILES
    return usable


@pytest.fixture(scope="module")
def stored(address: str, tls: ssl.SSLContext, samples: list[Sample]) -> list[Sample]:
    outcomes = store(Caller("MODALITY", tls), peer(address, "store"), samples)
    assert {outcome.sample.name: outcome.status for outcome in outcomes} == dict.fromkeys(FILES, 0)
    return samples


def peer(address: str, service: str) -> Peer:
    return Peer(address, DICOM_PORTS[service], TITLES[service], timeout_s=20)


def url(address: str, service: str, path: str) -> str:
    return f"https://{address}:{HTTPS_PORTS[service]}{path}"


def process_of(host: Any, unit: str) -> int:
    process = int(host.check_output(f"systemctl show --property MainPID --value {unit}"))
    assert process > 0, unit
    return process


@pytest.mark.parametrize("unit", ["orthanc-store", "orthanc-query", "orthanc-tls"])
def test_service_runs_and_is_enabled(host: Any, unit: str) -> None:
    assert host.service(unit).is_running
    assert host.service(unit).is_enabled


def test_package_service_is_masked(host: Any) -> None:
    assert host.service("orthanc").is_masked
    assert len(host.process.filter(comm="Orthanc")) == len(SERVICES)


@each_service
def test_storage_plugin_reports_the_node_healthy(address: str, web: httpx.Client, service: str) -> None:
    answer = web.get(url(address, service, "/hapacs/health"))
    report = answer.json()
    assert (answer.status_code, report["ok"], report["service"]) == (200, True, service)
    needed = {"database", "das", "cas", "index", "association"}
    needed |= {"retrieve", "dimse"} if service == "query" else {"stow"}
    assert {name: check["ok"] for name, check in report["checks"].items()} == dict.fromkeys(needed, True)


def test_known_transfer_syntaxes_are_accepted_unless_deflated(address: str, tls: ssl.SSLContext) -> None:
    syntaxes = [UID(uid) for uid in received.transfer_syntaxes()]
    offered = [build_context(CTImageStorage, syntax) for syntax in syntaxes]
    with associate(Caller("MODALITY", tls), peer(address, "store"), offered) as association:
        accepted = {context.transfer_syntax[0] for context in association.accepted_contexts}
    refused = set(syntaxes) - accepted
    assert refused >= DEFLATED
    assert refused - DEFLATED == received.UNKNOWN_TO_ORTHANC


def test_storage_classes_are_those_of_the_conformance_statement(address: str, tls: ssl.SSLContext) -> None:
    # The last one is private, and in the settings of the scenario.
    classes, accepted = [*map(UID, received.storage_classes()), UID("1.2.840.113619.4.26")], set()
    for at in range(0, len(classes), MAXIMUM_CONTEXTS - 1):
        # An association without any accepted context would be ended.
        offered = [build_context(one) for one in [Verification, *classes[at : at + MAXIMUM_CONTEXTS - 1]]]
        with associate(Caller("MODALITY", tls), peer(address, "store"), offered) as association:
            accepted |= {str(context.abstract_syntax) for context in association.accepted_contexts} - {Verification}
    assert set(classes) - accepted == sop_classes.WITHOUT_STUDY


@each_service
def test_index_and_storage_plugins_are_loaded(address: str, web: httpx.Client, service: str) -> None:
    system = web.get(url(address, service, "/system")).json()
    assert system["DicomAet"] == TITLES[service]
    assert "libOrthancPostgreSQLIndex.so" in system["DatabaseBackendPlugin"]
    assert "libOrthancPython.so" in system["StorageAreaPlugin"]
    assert web.get(url(address, service, "/plugins")).json() == [
        "explorer.js",
        "dicom-web",
        "gdcm",
        "postgresql-index",
        "python",
    ]


@pytest.mark.parametrize("port", [*DICOM_PORTS.values(), *HTTPS_PORTS.values(), RETRIEVE_PORT])
def test_client_without_certificate_is_refused(address: str, port: int) -> None:
    # In the clear and by TLS, HTTP, HTTP/2 and DICOM.
    assert port_probe.probe({"address": address, "port": port, "kind": "tls"}) == {"reached": True, "problem": ""}


@each_service
def test_certificate_of_another_authority_is_refused(address: str, authorities: Path, service: str) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(url(address, service, "/system"), verify=certified(authorities, "edge"), timeout=20)
    with pytest.raises(DicomError, match="connection was ended"):
        echo(Caller("MODALITY", certified(authorities, "edge")), peer(address, service))


def test_no_other_port_listens(host: Any, address: str) -> None:
    listening = host.check_output("ss -H -t -l -n -p")
    mine = {line.split()[3] for line in listening.splitlines() if '"Orthanc"' in line or '"stunnel' in line}
    # Orthanc has no setting for the addresses that it listens at; the firewall of role base has.
    assert mine == {
        *(f"0.0.0.0:{port}" for port in [DICOM_PORTS["store"], *HTTP_PORTS.values()]),
        *(f"{address}:{port}" for port in [DICOM_PORTS["query"], *HTTPS_PORTS.values(), RETRIEVE_PORT, STOW_PORT]),
    }


@each_service
def test_plain_http_is_limited_to_the_node(host: Any, address: str, service: str) -> None:
    plain = f"http://%s:{HTTP_PORTS[service]}/system"
    assert (
        host.check_output("curl --silent --output /dev/null --write-out '%%{http_code}' " + plain, "127.0.0.1") == "200"
    )
    # Other users of the node are refused, at the node's own address too.
    for place in ("127.0.0.1", address):
        assert (
            host.run(f"runuser -u nobody -- curl --silent --output /dev/null {plain % place}").rc == COULD_NOT_CONNECT
        )
    # The firewall drops what comes from elsewhere; without it Orthanc answers 401.
    with pytest.raises(httpx.ConnectTimeout):
        httpx.get(plain % address, timeout=3)


def test_stored_images_are_found_and_retrieved(address: str, tls: ssl.SSLContext, stored: list[Sample]) -> None:
    for sample in stored:
        query = Dataset()
        query.QueryRetrieveLevel, query.PatientName, query.StudyInstanceUID = "STUDY", "", sample.study
        answers = find(Caller("WORKSTATION", tls), peer(address, "query"), query)
        assert sample.study in {str(answer.StudyInstanceUID) for answer in answers}, sample.name
        del query.PatientName
        query.QueryRetrieveLevel, query.SeriesInstanceUID, query.SOPInstanceUID = (
            "IMAGE",
            sample.series,
            sample.sop_instance,
        )
        got = get(Caller("WORKSTATION", tls), peer(address, "query"), query, [sample])
        syntax, encoded = got.datasets[str(sample.sop_instance)]
        assert syntax == sample.transfer_syntax, sample.name
        assert differences(sample.dataset(), decode(with_meta(sample, encoded))) == [], sample.name


def test_whole_studies_are_returned_as_sent(address: str, web: httpx.Client, stored: list[Sample]) -> None:
    as_stored = {"Accept": multipart.AS_STORED}
    for sample in stored:
        path = f"/dicom-web/studies/{sample.study}/series/{sample.series}/instances/{sample.sop_instance}"
        answer = web.get(f"https://{address}:{RETRIEVE_PORT}{path}", headers=as_stored)
        assert answer.status_code == 200, sample.name
        (part,) = multipart.decode(answer.headers["Content-Type"], answer.content)
        assert differences(sample.dataset(), decode(part)) == [], sample.name
    study = {sample.sop_instance for sample in stored if sample.study == stored[0].study}
    answer = web.get(f"https://{address}:{RETRIEVE_PORT}/dicom-web/studies/{stored[0].study}", headers=as_stored)
    found = [decode(part) for part in multipart.decode(answer.headers["Content-Type"], answer.content)]
    assert {instance.SOPInstanceUID for instance in found} == study
    unknown = web.get(f"https://{address}:{RETRIEVE_PORT}/dicom-web/studies/1.2.3.4.5", headers=as_stored)
    assert unknown.status_code == 404


def test_good_and_bad_parts_of_a_chunked_body_are_told_apart(
    address: str, web: httpx.Client, samples: list[Sample]
) -> None:
    sample = samples[0]
    kind, body = multipart.encode([sample.content, bytes(128) + b"DICM" + b"garbage" * 9], "application/dicom")
    pieces = (body[at : at + 5000] for at in range(0, len(body), 5000))
    stow = f"https://{address}:{STOW_PORT}/dicom-web/studies"
    answer = web.post(stow, content=pieces, headers={"Content-Type": kind})
    assert answer.status_code == httpx.codes.ACCEPTED
    (stored,), (failed,) = (answer.json()[key]["Value"] for key in ("00081199", "00081198"))
    assert stored["00081155"]["Value"] == [sample.sop_instance]
    assert failed["00081197"]["Value"] == [0xC000]
    as_stored = {"Accept": multipart.AS_STORED}
    kept = web.get(f"https://{address}:{RETRIEVE_PORT}/dicom-web/studies/{sample.study}", headers=as_stored)
    assert sample.content in multipart.decode(kept.headers["Content-Type"], kept.content)


def test_each_image_has_its_copies_and_equal_bytes(
    host: Any, address: str, web: httpx.Client, stored: list[Sample]
) -> None:
    for sample in stored:
        # The index knows it by its SOP Instance UID, the catalog where its bytes are.
        (report,) = web.get(url(address, "query", f"/hapacs/instances/{sample.sop_instance}")).json()
        assert report["ok"], sample.name
        assert (report["das"]["state"], report["cas"]["state"]) == ("whole", "whole"), sample.name
        assert report["cas"]["retention_mode"] == "GOVERNANCE"
        # A resend leaves a tombstone of the one before.
        (row,) = (row for row in report["catalog"] if row["tombstoned_at"] is None)
        assert row["acknowledged"]
        answer = web.get(url(address, "query", f"/instances/{report['instance']}/file"))
        assert differences(sample.dataset(), decode(answer.content)) == [], sample.name
        assert hashlib.sha256(answer.content).hexdigest() == report["digest"], sample.name
    # Orthanc's own storage area holds none.
    assert host.check_output("find /var/lib/orthanc-store /var/lib/orthanc-query -type f") == ""


@pytest.mark.parametrize(
    ("calling", "service", "called"),
    [("NOBODY", "store", "HAPACS"), ("NOBODY", "query", "HAPACS_QR"), ("MODALITY", "store", "WRONG")],
)
def test_unknown_caller_gets_no_association(
    address: str, tls: ssl.SSLContext, calling: str, service: str, called: str
) -> None:
    with pytest.raises(DicomError):
        echo(Caller(calling, tls), Peer(address, DICOM_PORTS[service], called, timeout_s=20))


def test_caller_is_limited_to_its_permitted_operations(
    address: str, tls: ssl.SSLContext, samples: list[Sample]
) -> None:
    echo(Caller("WORKSTATION", tls), peer(address, "query"))
    (outcome,) = store(Caller("WORKSTATION", tls), peer(address, "store"), samples[:1])
    assert not outcome.stored
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", ""
    with pytest.raises(DicomError):
        find(Caller("MODALITY", tls), peer(address, "query"), query)


@pytest.mark.parametrize("path", ["/tools/execute-script", "/webdav/", "/app/explorer.html"])
def test_interfaces_that_change_the_machine_are_disabled(address: str, web: httpx.Client, path: str) -> None:
    method = "POST" if path.startswith("/tools") else "GET"
    answer = web.request(method, url(address, "store", path), content=b"print(1)")
    assert answer.status_code in {403, 404, 405}


@pytest.mark.parametrize("unit", ["orthanc-store", "orthanc-query", "orthanc-tls"])
def test_process_has_no_privileges(host: Any, unit: str) -> None:
    status = host.file(f"/proc/{process_of(host, unit)}/status").content_string
    said = {key: value.split() for key, _, value in (line.partition(":") for line in status.splitlines())}
    orthanc = str(host.user("orthanc").uid)
    assert said["Uid"] == [orthanc] * 4
    assert {key: said[key] for key in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {
        key: ["0" * 16] for key in ("CapEff", "CapPrm", "CapBnd", "CapAmb")
    }
    assert said["NoNewPrivs"] == ["1"]
    assert said["Seccomp"] == ["2"]


@pytest.mark.parametrize(
    ("unit", "writable"),
    [
        ("orthanc-store", ["/srv/das", "/var/lib/orthanc-store"]),
        ("orthanc-query", ["/srv/das", "/var/lib/orthanc-query"]),
        ("orthanc-tls", []),
    ],
)
def test_process_accesses_only_its_own_files(host: Any, unit: str, writable: list[str]) -> None:
    inside = f"nsenter --target {process_of(host, unit)} --mount --"
    for place in writable:
        host.check_output(f"{inside} sh -c 'touch {place}/probe && rm {place}/probe'")
    # Even root can't, in this view of the machine: it is not only a matter of owner and mode.
    for place in {"/etc", "/opt/hapacs", "/srv/data", "/srv/das", "/var/lib/orthanc-store", "/usr"} - set(writable):
        done = host.run(f"{inside} touch {place}/probe")
        assert "Read-only file system" in done.stderr, place
    assert host.check_output(f"{inside} ls -A /home") == ""
    assert host.run(f"{inside} test -e /dev/loop-control").failed
    assert host.file("/home/hapacs").exists


@each_service
def test_resource_limits_are_set(host: Any, service: str) -> None:
    # The memory's as systemd has it: a machine with cgroups of the first version gives containers no controller for it.
    properties = host.service(f"orthanc-{service}").systemd_properties
    assert (properties["MemoryMax"], properties["TasksMax"]) == (str(2048 << 20), "512")
    limits = host.file(f"/proc/{process_of(host, f'orthanc-{service}')}/limits").content_string
    assert {line.split()[3] for line in limits.splitlines() if line.startswith("Max open files")} == {"16384"}
    assert {line.split()[4] for line in limits.splitlines() if line.startswith("Max core file size")} == {"0"}


@each_service
def test_configuration_contains_no_password_and_is_not_world_readable(host: Any, service: str) -> None:
    file = host.file(f"/etc/orthanc-{service}/orthanc.json")
    assert (file.user, file.group, file.mode) == ("root", "orthanc", 0o640)
    assert "password-of-the-test" not in file.content_string
    assert json.loads(file.content_string)["PostgreSQL"]["IndexConnectionsCount"] == (1 if service == "store" else 6)


def test_no_log_contains_a_patient_name(host: Any, stored: list[Sample]) -> None:
    logged = host.check_output("journalctl --no-pager --output cat --unit orthanc-store --unit orthanc-query")
    assert "orthanc" in logged.lower()
    names = {str(sample.dataset().get("PatientName", "")) for sample in stored} - {""}
    assert names
    assert not [name for name in names if name in logged]
