import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

import pytest

from hapacs.bench import bare, node_bare, sides, viewer
from hapacs.bench.fetch import Web
from hapacs.bench.view import Viewed, view
from hapacs.bench.viewer import Options
from hapacs.dicom import DicomError, multipart
from hapacs.load import burst
from hapacs.load.burst import Outcome
from hapacs.load.images import Study, made_study
from tests.unit.bench import fakes

OPTIONS = Options(instances=5, rows=16, rounds=2)
STUDY = made_study(20, 16)
SERIES = f"/dicom-web/studies/{STUDY.uid}/series/{STUDY.series}"
FRAMES = {f"{SERIES}/instances/{image.sop_instance}/frames/1": image.dataset[-512:] for image in STUDY.images}


class Server(Protocol):
    asked: list[str]
    peers: Counter[int]
    frames: dict[str, bytes]
    listed: int
    web: Web


@pytest.fixture
def server() -> Iterator[Any]:
    """A DICOMweb server with one study."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        asked: list[str] = []  # noqa: RUF012 - of this test alone
        peers: Counter[int] = Counter()  # noqa: RUF012
        frames = dict(FRAMES)  # noqa: RUF012
        listed = 1
        web: Web

        def do_GET(self) -> None:
            self.asked.append(self.path)
            assert self.headers["Authorization"] == "Basic dTpw"
            status, content_type, body = 200, "application/dicom+json", b"[{}]" if self.listed == 1 else b"[]"
            if self.path == f"{SERIES}/metadata":
                listed = [{"00080018": {"vr": "UI", "Value": [image.sop_instance]}} for image in STUDY.images]
                body = json.dumps(listed).encode()
            elif "/frames/" in self.path:
                self.peers[self.client_address[1]] += 1
                assert "transfer-syntax=*" in self.headers["Accept"]
                status = 200 if self.path in self.frames else 503
                content_type, body = multipart.encode([self.frames.get(self.path, b"")], "application/octet-stream")
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.web = Web("127.0.0.1", listening.server_port, login=("u", "p"))
    threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
    yield Handler
    listening.shutdown()
    listening.server_close()


def test_a_study_is_searched_then_described_then_each_frame_is_asked_for_once(server: Server) -> None:
    viewed = view(server.web, STUDY, connections=4)
    assert (viewed.wrong, 0 < viewed.first_s <= viewed.all_s) == (0, True)
    study = f"/dicom-web/studies/{STUDY.uid}"
    assert server.asked[:3] == [
        f"/dicom-web/studies?StudyInstanceUID={STUDY.uid}",
        f"{study}/series",
        f"{SERIES}/metadata",
    ]
    assert Counter(server.asked[3:]) == Counter(list(FRAMES))
    # A connection serves many frames. One that opens late may find none left.
    assert 1 <= len(server.peers) <= 4


def test_a_frame_with_other_bytes_is_wrong(server: Server) -> None:
    changed, cut, *_ = FRAMES
    server.frames[changed] = server.frames[changed][:-1] + b"x"
    server.frames[cut] = server.frames[cut][2:200]
    assert view(server.web, STUDY).wrong == 2


def test_a_frame_that_is_refused_is_no_result(server: Server) -> None:
    server.frames.popitem()
    with pytest.raises(DicomError, match=r"frames/1 at .* is answered 503"):
        view(server.web, STUDY)


def test_a_study_that_is_not_listed_is_no_result(server: Server) -> None:
    server.listed = 0
    with pytest.raises(DicomError, match="lists the study 0 times"):
        view(server.web, STUDY)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> fakes.World:
    world = fakes.World(monkeypatch)
    monkeypatch.setattr(burst, "send", lambda *_: Outcome(1, [0.1]))
    monkeypatch.setattr(viewer, "_warm_up", lambda *_: world.events.append("warmed up"))
    return world


def viewers(monkeypatch: pytest.MonkeyPatch, site: Viewed, reference: Viewed) -> list[tuple[str, str]]:
    """Let each side take so long, and return what was viewed."""
    seen: list[tuple[str, str]] = []

    def viewing(side: str, viewed: Viewed) -> Callable[[Study], Viewed]:
        def look(study: Study) -> Viewed:
            seen.append((side, study.uid))
            return viewed

        return look

    both = {"site": viewing("site", site), "bare": viewing("bare", reference)}
    monkeypatch.setattr(viewer, "_viewers", lambda *_: both)
    return seen


def test_more_than_1_is_faster_than_the_bare_orthanc(world: fakes.World, monkeypatch: pytest.MonkeyPatch) -> None:
    viewers(monkeypatch, Viewed(0.5, 2.0, 0.1, 0), Viewed(0.4, 3.0, 0.1, 1))
    found = viewer.run(fakes.site(), OPTIONS)
    assert (found["warm_ratio"], found["cold_ratio"], found["failed"]) == (1.5, 1.5, 4)
    assert found["warm"]["first_frame_ratio"] == 0.8
    assert found["cold"]["site"]["all_frames_s"]["rounds"] == [2.0, 2.0]
    assert world.events == [
        ("room", 2 * OPTIONS.image_bytes), "bare runs", ("emptied", 2), "warmed up", "bare is gone", ("removed", 3),
    ]  # fmt: skip


def test_cold_studies_were_never_viewed_before_and_the_sides_take_turns(
    world: fakes.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not world.events
    seen = viewers(monkeypatch, Viewed(0.5, 2.0, 0.1, 0), Viewed(0.4, 3.0, 0.1, 0))
    viewer.run(fakes.site(), OPTIONS)
    cold, warm = seen[:4], seen[4:]
    assert len(set(cold)) == 4
    assert len({uid for _, uid in cold}) == 2
    assert len({uid for _, uid in warm}) == 1
    assert {uid for _, uid in cold}.isdisjoint({uid for _, uid in warm})
    assert [side for side, _ in seen] == ["site", "bare", "bare", "site"] * 2


def test_a_study_does_not_fit_into_the_memory_of_an_orthanc() -> None:
    assert Options().instances * 2 * Options().rows ** 2 > 128 * 2**20


def test_tls_stands_in_front_of_the_bare_orthanc_and_ends_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    words: list[tuple[str, ...]] = []
    monkeypatch.setattr(node_bare, "run", lambda *given: words.append(given))
    monkeypatch.setattr(shutil, "chown", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as listening:
        node_bare.start_tls(tmp_path / "stunnel.conf", 1234, listening.server_port)
    written = (tmp_path / "stunnel.conf").read_text()
    assert f"accept = {listening.server_port}\nconnect = 127.0.0.1:1234\n" in written
    assert f"--property=BindsTo={node_bare.UNIT}.service" in words[0]


def test_only_the_port_with_tls_is_opened_when_it_is_asked_for() -> None:
    given: list[dict[str, Any]] = []
    site = fakes.site()
    site.destination = ("", "10.0.0.1")
    site.run_script = lambda _node, _script, arguments, **_: given.append(arguments)
    for https in (False, True):
        with bare.running(site, https=https) as reference:
            assert (reference.https_port in given[-1]["ports"]) is https
            assert (reference.http_port in given[-1]["ports"]) is not https


def test_a_study_that_a_side_does_not_store_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(burst, "send", lambda *_: Outcome(1, [], ["status 0xA700"]))
    reference = bare.Bare(fakes.NODE, fakes.site().store_peer, "10.0.0.11", 1)
    with pytest.raises(Exception, match="did not store a study: status 0xA700"):
        sides.store(fakes.site(), reference, 2, 16)
