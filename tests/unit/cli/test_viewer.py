import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from hapacs import image, viewer
from hapacs import npm as npm_package
from hapacs.errors import HapacsError

PAGE = b'<html><script>inline()</script><script defer src="/app.bundle.0123456789abcdef.js"></script></html>'
WORKERS = b"".join(
    b"new Worker(new URL(/* worker import */__webpack_require__.p + __webpack_require__.u(%d), b))" % number
    for number in (17, 18)
)
FILES = {
    "package/LICENSE": b"MIT",
    "package/package.json": b"{}",
    "package/dist/index.html": PAGE,
    "package/dist/app.bundle.0123456789abcdef.js": b"start();createNamedFunction()" * 99 + WORKERS,
    "package/dist/17.bundle.0123456789abcdef.js": b"createNamedFunction()",
    "package/dist/18.bundle.0123456789abcdef.js": b"count()",
    "package/dist/19.bundle.0123456789abcdef.js": b"createNamedFunction()",
    "package/dist/app.bundle.css": b"body {}",
    "package/dist/0123456789abcdef.wasm": b"\0asm",
    "package/dist/assets/images/CT-Bone.png": b"\x89PNG",
    "package/dist/app-config.js": b"window.config = {dataSources: ['https://example.org']}",
    "package/dist/sw.js": b"importScripts('https://example.org')",
    "package/dist/ort/ort.js": b"model",
    "package/dist/../../../escape.css": b"x",
}


def bundle(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("package/dist/link.css")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return stream.getvalue()


@pytest.fixture
def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A published bundle and the pin that fits it, in a cache of the test's own."""
    monkeypatch.setenv("HAPACS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv(viewer.GIVEN, raising=False)
    published = tmp_path / "bundle.tgz"
    pin(published, FILES, tmp_path, monkeypatch)
    return published


def pin(published: Path, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bundle(files)
    published.write_bytes(content)
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    pinned = tmp_path / "viewer.json"
    pinned.write_text(json.dumps({"package": "a-viewer", "version": "1.2.3", "integrity": integrity}))
    monkeypatch.setattr(viewer, "PIN", pinned)


def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put an npm of the test's own on PATH."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (programs / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")


def content(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as packed:
        return {member.name: packed.extractfile(member).read() for member in packed}  # type: ignore[union-attr]


def test_the_given_file_is_packed_with_what_is_served_and_nothing_else(
    pinned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(viewer.GIVEN, str(pinned))
    packed = content(viewer.ensure())
    assert list(packed) == [
        "LICENSE",
        "app.bundle.0123456789abcdef.js.gz",
        "17.bundle.0123456789abcdef.js.gz",
        "18.bundle.0123456789abcdef.js.gz",
        "19.bundle.0123456789abcdef.js.gz",
        "app.bundle.css.gz",
        "0123456789abcdef.wasm.gz",
        "assets/images/CT-Bone.png",
        "workers.conf",
        "boot.js.gz",
        "index.html.gz",
    ]
    assert gzip.decompress(packed["app.bundle.css.gz"]) == b"body {}"
    page = gzip.decompress(packed["index.html.gz"]).decode()
    assert 'src="/app.bundle.0123456789abcdef.js"' in page
    assert "inline" not in page


def test_only_workers_that_make_code_at_run_time_may_do_so(pinned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(viewer.GIVEN, str(pinned))
    assert content(viewer.ensure())[viewer.WORKERS] == b"/17.bundle.0123456789abcdef.js 1;\n"


def test_the_same_bundle_gives_the_same_bytes(pinned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(viewer.GIVEN, str(pinned))
    first = viewer.ensure()
    before = first.read_bytes()
    first.unlink()
    assert viewer.ensure() == first
    assert first.read_bytes() == before


def test_npm_fetches_it_once(pinned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm(tmp_path, monkeypatch, f'echo "$@" >>{tmp_path}/asked; cp {pinned} a-viewer-1.2.3.tgz; echo a-viewer-1.2.3.tgz')
    assert viewer.ensure() == viewer.ensure()
    assert (tmp_path / "asked").read_text() == "pack --silent --ignore-scripts a-viewer@1.2.3\n"


def test_another_bundle_is_refused(pinned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned.write_bytes(pinned.read_bytes() + b"\0")
    monkeypatch.setenv(viewer.GIVEN, str(pinned))
    with pytest.raises(HapacsError, match="is not the pinned bundle"):
        viewer.ensure()
    assert list(viewer.path().parent.iterdir()) == []


def test_what_npm_brings_is_checked_too(pinned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm(tmp_path, monkeypatch, f"(cat {pinned}; echo more) >a-viewer-1.2.3.tgz")
    with pytest.raises(HapacsError, match="is not the pinned bundle"):
        viewer.ensure()


@pytest.mark.usefixtures("pinned")
def test_a_registry_that_does_not_answer_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm(tmp_path, monkeypatch, "echo 'npm error network' >&2; exit 1")
    with pytest.raises(HapacsError, match="npm error network") as failure:
        viewer.ensure()
    assert viewer.GIVEN in failure.value.hint
    assert "npm pack a-viewer@1.2.3" in failure.value.hint


@pytest.mark.usefixtures("pinned")
def test_without_any_npm_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "tool.sh"
    tool.write_text("echo 'no such package' >&2; exit 1\n")
    monkeypatch.setattr(npm_package, "_REGISTRY_TOOL", tool)
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(HapacsError, match="npm is not installed") as failure:
        viewer.ensure()
    assert viewer.GIVEN in failure.value.hint


@pytest.mark.usefixtures("pinned")
def test_a_given_file_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(viewer.GIVEN, str(tmp_path / "nothing.tgz"))
    with pytest.raises(HapacsError, match="can't be read"):
        viewer.ensure()


def test_a_bundle_with_another_page_is_told(pinned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(pinned, FILES | {"package/dist/index.html": b"<html></html>"}, tmp_path, monkeypatch)
    monkeypatch.setenv(viewer.GIVEN, str(pinned))
    with pytest.raises(HapacsError, match="built differently"):
        viewer.ensure()


def test_another_pin_is_another_image(pinned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.identifier(), viewer.path()
    pin(pinned, FILES | {"package/dist/app.bundle.css": b"html {}"}, tmp_path, monkeypatch)
    assert image.identifier() != before[0]
    assert viewer.path() != before[1]


def test_the_pin_is_whole() -> None:
    pin = json.loads(viewer.PIN.read_text())
    assert pin.keys() == {"package", "version", "integrity"}
    assert len(base64.b64decode(pin["integrity"].removeprefix("sha512-"))) == 64
