"""Input of broken and hostile peers at the virtual address is refused or stored as docs/operations/input.md says.

After each test the services are the same processes as before, and another caller's image is stored.
"""

from __future__ import annotations

import base64
import gzip
import io
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import build_context

from hapacs import dicom
from hapacs.dicom import AssociationRefusedError, Caller, DicomError, Peer, Sample, StoreOutcome, multipart
from hapacs.dicom.client import associate
from hapacs.load.made import encoded, made_ct
from hapacs.load.waiting import eventually
from hapacs.site.access import Site
from tests.cluster.conftest import Lab
from tests.support import hostile

UNITS = ("orthanc-store", "orthanc-query", "haproxy", "orthanc-tls")
DICOM_TYPE = "application/dicom"
# Orthanc does not answer a data set that it can't parse, and waits for the rest.
_PATIENCE_S = 5
ROOM_S = 10
# The lab's Orthancs may take 1.5 GiB.
BOMB_MIB = 2048
ITEMS_MIB = 64
_RELATED = 'multipart/related; type="application/dicom"; boundary='
VERIFICATION, COMMITMENT = "1.2.840.10008.1.1", "1.2.840.10008.1.20.1"
_PART = b"--x\r\nContent-Type: application/dicom\r\n"
MALFORMED = {
    "no boundary": ("multipart/related", b"no boundary"),
    "other boundary": (f"{_RELATED}x", b"--y\r\n\r\nother boundary\r\n--y--\r\n"),
    "cut": (f"{_RELATED}x", _PART + b"\r\ncut"),
    "only boundaries": (f"{_RELATED}x", b"--x" * 10_000),
    "empty boundary": (_RELATED, b"--\r\n\r\n----\r\n"),
    "long boundary": (_RELATED + "x" * 5000, b"--x\r\n\r\n--x--"),
    "bare newlines": (f"{_RELATED}x", b"--x\n\nunix\n--x--\n"),
    "wrong length": (f"{_RELATED}x", _PART + b"Content-Length: 999999\r\n\r\nshort\r\n--x--\r\n"),
    "empty": (f"{_RELATED}x", b""),
}
HIDDEN_PATHS = (
    "/instances", "/system", "/hapacs/health", "/app/explorer.html", "/tools/shutdown", "/dicom-web/../instances",
    "/dicom-web/studies/../../instances", "/dicom-web/studies/%2e%2e/%2e%2e/instances", "/dicom-web//studies",
    "/dicom-web/studies/..%2f..%2finstances", "/dicom-web/studies;x=/../instances", "/dicom-web/studies\\..\\system",
    "/dicom-web/servers", "/dicom-web/studies/%00", "/DICOM-WEB/studies", "/dicom-web/studiesx", "/./instances",
    "//dicom-web/studies", "http://other/instances", f"/dicom-web/studies/{'1.' * 40000}",
)  # fmt: skip

pytestmark = [pytest.mark.long, pytest.mark.timeout(10 * 60)]


@pytest.fixture
def site(lab: Lab) -> Site:
    return lab.site


@pytest.fixture(autouse=True)
def _unharmed(lab: Lab) -> Iterator[None]:
    """Check after every test that no process ended and that others are served."""
    before = _processes(lab.site)
    yield
    assert _processes(lab.site) == before, "a service was ended and came back"
    eventually("a well-behaved caller's image is stored", lambda: _well_behaved(lab.site), 60)


def _processes(site: Site) -> dict[str, str]:
    def ask(name: str) -> str:
        words = ["systemctl", "show", "--property=MainPID", "--value", *UNITS]
        return " ".join(site.run(site.nodes[name], words, "").split())

    with ThreadPoolExecutor(len(site.nodes)) as threads:
        return dict(zip(site.nodes, threads.map(ask, site.nodes), strict=True))


def _well_behaved(site: Site) -> bool:
    dataset = made_ct(generate_uid(), generate_uid(), 1, rows=64)
    with associate(
        site.caller, site.store_peer, [build_context(CTImageStorage, ExplicitVRLittleEndian)]
    ) as association:
        return bool(association.send_c_store(dataset).get("Status") == 0)


def _store(site: Site, made: Sample, timeout_s: float = _PATIENCE_S) -> StoreOutcome:
    peer = site.store_peer
    return dicom.store(site.caller, Peer(peer.host, peer.port, peer.ae_title, timeout_s), [made])[0]


def _found(site: Site, study: str, series: str) -> list[str]:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID, query.SeriesInstanceUID, query.SOPInstanceUID = study, series, ""
    return [str(answer.SOPInstanceUID) for answer in dicom.find(site.caller, site.query_peer, query)]


def _logged(site: Site, unit: str, since: float, text: str) -> bool:
    words = ["sudo", "journalctl", f"--unit={unit}", f"--since=@{since:.0f}", "--output=cat", "--no-pager"]
    return any(text in site.run(node, words, "") for node in site.nodes.values())


def _uids() -> tuple[str, str, str]:
    return generate_uid(), generate_uid(), generate_uid()


class TestDataSets:
    """Objects that are damaged, odd or sent twice."""

    @pytest.mark.parametrize(
        "kind", ["nothing", "garbage", "cut in an element", "longer than it is", "no UIDs", "UIDs as UN"]
    )
    def test_indistinguishable_instances_are_refused(self, site: Site, tmp_path: Path, kind: str) -> None:
        instance, study, series = _uids()
        whole = hostile.identified(instance, study, series)
        encoded_ = {
            "nothing": b"",
            "garbage": b"\xfe\xed" * 500,
            "cut in an element": whole[:-20],
            "longer than it is": whole[:-2] + b"\xff\xff" + hostile.element(0x7FE0, 0x10, b"OW", bytes(100))[:-60],
            "no UIDs": hostile.identified("", "", "", sop_class=""),
            "UIDs as UN": hostile.identified(instance, study, series, uid_vr=b"UN"),
        }[kind]
        made = hostile.sample(tmp_path / "file", encoded_, sop_instance=instance)
        outcome = _store(site, made)
        assert not outcome.stored
        answer = hostile.stow(site.web, made.content)
        assert answer.status_code != 200 or answer.json()["00081198"]["Value"]
        assert _found(site, study, series) == []

    @pytest.mark.parametrize("missing", ["SOP instance", "study", "series"])
    def test_instance_without_identifier_is_refused(self, site: Site, tmp_path: Path, missing: str) -> None:
        instance, study, series = _uids()
        parts = {"SOP instance": instance, "study": study, "series": series} | {missing: ""}
        head = hostile.identified(parts["SOP instance"], parts["study"], parts["series"])
        made = hostile.sample(tmp_path / "file", head, sop_instance=instance)
        assert not _store(site, made).stored
        assert hostile.stow(site.web, made.content).status_code != 200

    @pytest.mark.parametrize("levels", [129, 600, 20_000])
    def test_sequences_nested_too_deeply_are_refused(self, site: Site, tmp_path: Path, levels: int) -> None:
        instance, study, series = _uids()
        deep = hostile.nested(hostile.identified(instance, study, series), levels)
        made = hostile.sample(tmp_path / "file", deep, sop_instance=instance)
        assert not _store(site, made, timeout_s=1).stored
        assert hostile.stow(site.web, made.content).status_code == 400
        assert _found(site, study, series) == []

    @pytest.mark.parametrize("uid", ["1.2.03.4", "1.2.840.113619.ABC.7", "1." + "2" * 70, "..1.2", "1.2.3-4_5"])
    def test_unusual_identifiers_stay_distinct(self, site: Site, tmp_path: Path, uid: str) -> None:
        _, study, series = _uids()
        odd = f"{uid}.{time.time_ns() % 10**9}"
        made = hostile.sample(tmp_path / "file", hostile.identified(odd, study, series), sop_instance=odd)
        # A request of C-STORE has no room for more than 64 characters.
        assert hostile.stow(site.web, made.content).status_code == 200
        assert len(odd) > 64 or _store(site, made).stored
        assert _found(site, study, series) == [odd]

    def test_instance_that_differs_from_its_request_is_refused(self, site: Site, tmp_path: Path) -> None:
        instance, study, series = _uids()
        content = hostile.identified(instance, study, series)
        assert not _store(site, hostile.sample(tmp_path / "file", content, sop_instance=generate_uid())).stored
        assert _found(site, study, series) == []

    def test_unusual_values_and_empty_pixels_are_kept_unchanged(self, site: Site, tmp_path: Path) -> None:
        instance, study, series = _uids()
        head = hostile.identified(instance, study, series)
        # Rows is a US (PS3.6); here it is text. The pixels are there, and empty.
        content = head + hostile.element(0x0028, 0x0010, b"DS", b"many") + hostile.element(0x7FE0, 0x10, b"OW", b"")
        assert _store(site, hostile.sample(tmp_path / "file", content, sop_instance=instance)).stored
        assert _found(site, study, series) == [instance]
        answer = site.web.get(f"studies/{study}/series/{series}/instances/{instance}")
        assert answer.status_code == 200
        assert content in multipart.decode(answer.headers["Content-Type"], answer.content)[0]

    def test_repeated_store_keeps_one_instance_and_another_replaces_it(self, site: Site) -> None:
        study, series = generate_uid(), generate_uid()
        first = made_ct(study, series, 1, rows=64)
        second = made_ct(study, series, 2, rows=64, seed=1)
        second.SOPInstanceUID = first.SOPInstanceUID
        with associate(
            site.caller, site.store_peer, [build_context(CTImageStorage, ExplicitVRLittleEndian)]
        ) as association:
            statuses = [association.send_c_store(dataset).get("Status") for dataset in (first, first, second)]
        assert statuses == [0, 0, 0]
        assert _found(site, study, series) == [first.SOPInstanceUID]
        path = f"studies/{study}/series/{series}/instances/{first.SOPInstanceUID}"
        answer = site.web.get(path)
        assert encoded(second) in multipart.decode(answer.headers["Content-Type"], answer.content)[0]

    def test_an_unknown_sop_class_gets_no_presentation_context(self, site: Site, tmp_path: Path) -> None:
        instance, study, series = _uids()
        content = hostile.identified(instance, study, series, sop_class="1.2.3.4.5.6")
        made = hostile.sample(tmp_path / "file", content, sop_instance=instance, sop_class="1.2.3.4.5.6")
        with pytest.raises(DicomError, match="no association"):
            # The only proposed context is refused, so the association has none.
            _store(site, made)
        assert _found(site, study, series) == []


class TestSize:
    """Objects that are larger than a node can hold, on the wire or after decompression."""

    def test_instance_of_two_gigabytes(self, site: Site, tmp_path: Path) -> None:
        instance, study, series = _uids()
        made = hostile.sample(tmp_path / "file", hostile.identified(instance, study, series), sop_instance=instance)
        hostile.grow(made.path, 2**31 - 2)
        assert not _store(site, made, 30).stored
        assert _found(site, study, series) == []

    # Many items by STOW-RS take a service's memory: test_exhaustion.
    @pytest.mark.parametrize(
        ("kind", "way"),
        [
            ("large value", "C-STORE"),
            ("large value", "STOW-RS"),
            ("many items", "C-STORE"),
        ],
    )
    def test_deflated_bomb_is_refused(self, site: Site, tmp_path: Path, kind: str, way: str) -> None:
        instance, study, series = _uids()
        head = hostile.identified(instance, study, series)
        make = {"large value": hostile.large_value_bomb, "many items": hostile.many_items_bomb}[kind]
        content = make(head, BOMB_MIB if kind == "large value" else ITEMS_MIB)
        made = hostile.sample(tmp_path / "file", content, sop_instance=instance, transfer_syntax=hostile.DEFLATED)
        if way == "C-STORE":
            with pytest.raises(DicomError, match="no association"):
                # The only proposed transfer syntax is the deflated one.
                _store(site, made, 30)
        else:
            answer = hostile.stow(site.web, made.content)
            assert answer.status_code != 200 or "Value" not in answer.json()["00081199"]
        assert _found(site, study, series) == []

    def test_compressed_body_is_refused(self, site: Site) -> None:
        content_type, body = multipart.encode([b"x" * 1000], DICOM_TYPE)
        headers = {"Content-Type": content_type, "Content-Encoding": "gzip"}
        assert site.web.post("studies", content=gzip.compress(body), headers=headers).status_code == 415

    def test_archives_of_files_are_refused(self, site: Site) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("zeros", bytes(10_000_000))
        headers = {"Content-Type": "application/zip"}
        base = str(site.web.base_url).removesuffix("/dicom-web/")
        assert site.web.post(f"{base}/instances", content=packed.getvalue(), headers=headers).status_code == 404
        assert site.web.post("studies", content=packed.getvalue(), headers=headers).status_code == 415

    @pytest.mark.parametrize(
        "length", ["2147483649", "3221225472", "99999999999999", "-1", "abc", "18446744073709551617"]
    )
    def test_an_oversized_body_is_refused_before_it_is_sent(self, site: Site, length: str) -> None:
        assert _raw(site, "POST", "/dicom-web/studies", f"Content-Length: {length}") in {400, 413}

    def test_a_body_of_unknown_length_is_refused_where_it_is_not_limited(self, site: Site) -> None:
        chunked = "Transfer-Encoding: chunked"
        assert _raw(site, "POST", "/dicom-web/studies", chunked, "Accept: application/dicom+xml") == 411


class TestHttp:
    """Requests that no client library makes."""

    @pytest.mark.parametrize("kind", MALFORMED)
    def test_a_malformed_multipart_body_stores_nothing(self, site: Site, kind: str) -> None:
        content_type, body = MALFORMED[kind]
        answer = site.web.post("studies", content=body, headers={"Content-Type": content_type})
        assert 400 <= answer.status_code < 500 or "Value" not in answer.json()["00081199"]

    @pytest.mark.parametrize("path", HIDDEN_PATHS)
    def test_other_paths_are_refused(self, site: Site, path: str) -> None:
        assert _raw(site, "GET", path) in {400, 404, 414}

    def test_other_methods_are_refused(self, site: Site) -> None:
        study = f"/dicom-web/studies/{generate_uid()}"
        assert [_raw(site, method, study) for method in ("DELETE", "PUT", "TRACE", "OPTIONS")] == [405] * 4

    def test_a_url_in_absolute_form_is_answered_as_its_path(self, site: Site) -> None:
        assert _raw(site, "GET", f"https://{site.vip}/dicom-web/studies?limit=1") == 200


class TestConnections:
    """Unlisted, slow and too many callers."""

    def test_an_unlisted_caller_is_refused_and_logged(self, site: Site) -> None:
        began = time.time() - 1
        with pytest.raises(AssociationRefusedError):
            dicom.echo(Caller("STRANGER"), site.store_peer)
        assert _logged(site, "haproxy", began, 'calling="STRANGER" called="HAPACS" refused=caller-unknown')

    @pytest.mark.parametrize("said", ["nothing", "its titles", "all but the last byte"])
    def test_incomplete_request_is_disconnected_without_delaying_others(self, site: Site, said: str) -> None:
        peer = site.store_peer
        request = hostile.associate_rq(site.caller.ae_title, peer.ae_title)
        part = {"nothing": b"", "its titles": request[:80], "all but the last byte": request[:-1]}[said]
        began = time.time() - 1
        with hostile.connections(peer.host, peer.port, 60, part) as opened:
            assert _well_behaved(site)
            assert all(hostile.ended(connection, 15) for connection in opened)
        assert _logged(site, "haproxy", began, "refused=incomplete")

    def test_slow_request_is_disconnected(self, site: Site) -> None:
        peer = site.store_peer
        request = hostile.associate_rq(site.caller.ae_title, peer.ae_title)
        with hostile.connections(peer.host, peer.port, 1) as (connection,):
            for byte in request[:15]:
                try:
                    connection.sendall(bytes([byte]))
                except OSError:
                    break
                time.sleep(1)
            else:
                pytest.fail("a caller that sends one byte a second is never disconnected")

    def test_a_request_without_end_is_refused(self, site: Site) -> None:
        peer = site.store_peer
        request = bytearray(hostile.associate_rq(site.caller.ae_title, peer.ae_title))
        request[2:6] = (2**31).to_bytes(4)
        began = time.time() - 1
        with hostile.connections(peer.host, peer.port, 1, bytes(request)) as (connection,):
            assert hostile.ended(connection, 10)
        assert _logged(site, "haproxy", began, "refused=request-too-large")

    @pytest.mark.parametrize("title", ["store", "query"])
    @pytest.mark.parametrize("last", [VERIFICATION, COMMITMENT])
    def test_a_request_with_all_contexts_and_40_transfer_syntaxes_each_is_accepted(
        self, site: Site, title: str, last: str
    ) -> None:
        peer = site.store_peer if title == "store" else site.query_peer
        request = hostile.widest_rq(site.caller.ae_title, peer.ae_title, last)
        with hostile.connections(peer.host, peer.port, 1, request) as (connection,):
            accepted = hostile.accepted(connection)
        assert len(accepted) == hostile.CONTEXTS
        assert (accepted[-1] == 0) is (title == "store" or last == VERIFICATION)

    def test_silent_associations_are_limited_per_caller(self, site: Site) -> None:
        peer = site.store_peer
        other = Caller("MODALITY")
        request = hostile.associate_rq(other.ae_title, peer.ae_title)
        with hostile.connections(peer.host, peer.port, 60, request) as opened:
            answers = [connection.recv(1) for connection in opened]
            assert answers.count(b"\x02") <= 32
            assert b"\x03" in answers
            assert _well_behaved(site)

    def test_callers_with_all_their_associations_leave_room_for_the_others(self, site: Site) -> None:
        peer = site.store_peer
        # The second one may not store.
        one, two = (hostile.associate_rq(title, peer.ae_title) for title in ("MODALITY", "WORKSTATION"))
        with (
            hostile.connections(peer.host, peer.port, 40, one) as storing,
            hostile.connections(peer.host, peer.port, 40, two) as others,
        ):
            assert b"\x02" in [connection.recv(1) for connection in storing]
            assert [connection.recv(1) for connection in others].count(b"\x02") <= 4
            began = time.monotonic()
            assert _well_behaved(site)
            assert time.monotonic() - began < ROOM_S

    @pytest.mark.parametrize("door", ["DICOM", "DICOM by TLS", "HTTPS"])
    def test_thousands_of_connections_do_not_block_others(self, site: Site, door: str) -> None:
        ports = site.contract["dicom"]
        port = {"DICOM": ports["port"], "DICOM by TLS": ports["tls_port"], "HTTPS": site.contract["https_port"]}[door]
        stop = threading.Event()
        served: list[bool] = []

        def keep_asking() -> None:
            # From the node's address: the address of the flood may open no more connections.
            while not stop.is_set():
                served.append(_served_elsewhere(site))

        with ThreadPoolExecutor(1) as threads:
            asking = threads.submit(keep_asking)
            try:
                with hostile.connections(site.vip, port, 2000):
                    count = len(served)
                    eventually("others are served beside the flood", lambda: len(served) >= count + 2, 60, 0.2)
            finally:
                stop.set()
                asking.result(60)
        assert all(served)


def _served_elsewhere(site: Site) -> bool:
    """Return whether the balancer still serves another address: a node requests it by HTTPS."""
    login = base64.b64encode(f"verify:{site.secrets['hapacs_secret_dicomweb_users']['verify']}".encode()).decode()
    words = ["curl", "--silent", "--insecure", "--output", "/dev/null", "--write-out", "%{http_code}", "--config", "-"]
    url = f"https://{site.vip}:{site.contract['https_port']}/dicom-web/studies?limit=1"
    config = f'url = "{url}"\nheader = "Authorization: Basic {login}"\n'
    return site.run(next(iter(site.nodes.values())), words, config) == "200"


def _raw(site: Site, method: str, path: str, *headers: str) -> int | None:
    login = base64.b64encode(f"verify:{site.secrets['hapacs_secret_dicomweb_users']['verify']}".encode()).decode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {site.vip}", f"Authorization: Basic {login}", "Connection: close"]
    if method == "POST":
        lines.append("Content-Type: multipart/related; boundary=x")
    request = "\r\n".join([*lines, *headers, "", ""]).encode()
    return hostile.raw_request(site.vip, site.contract["https_port"], site.tls("edge", client=False), request)
