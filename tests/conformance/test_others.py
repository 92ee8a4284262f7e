"""odil, PixelMed's toolkit and dcmjs-dimse: three more implementations of the protocol, in C++, Java and JavaScript."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.target import Made, Target, Word, differences, run

CLIENTS = Path(__file__).parent / "clients"
CT = "1.2.840.10008.5.1.4.1.1.2"

pytestmark = [pytest.mark.long, pytest.mark.timeout(10 * 60)]
type Command = Callable[..., list[Word]]


def _program(name: str, package: str) -> str:
    found = shutil.which(name)
    assert found is not None, f"{name} is missing: apt-get install {package}"
    return found


def dcmjs(target: Target, called: str, *words: Word) -> list[Word]:
    """Return the command that runs dcmjs-dimse."""
    return [
        _program("node", "nodejs"), CLIENTS / "dcmjs.mjs", target.host, target.port, target.calling, called, *words,
    ]  # fmt: skip


def pixelmed(target: Target, called: str, *words: Word) -> list[Word]:
    """Return the command that runs PixelMed's toolkit; its archive names those that it needs."""
    jar = Path("/usr/share/java/pixelmed.jar")
    assert jar.exists(), "PixelMed is missing: apt-get install libpixelmed-java"
    return [
        _program("java", "default-jdk-headless"), "-Djava.awt.headless=true", "-cp", jar, CLIENTS / "PixelMed.java",
        target.host, target.port, target.calling, called, *words,
    ]  # fmt: skip


def odil(target: Target, called: str, *words: Word) -> list[Word]:
    """Return the command that runs odil: verb and options come before the site, all else behind it."""
    verb, *more = words
    options = [word for word in more if str(word).startswith("--")]
    rest = [word for word in more if word not in options]
    return [
        _program("odil", "odil"), verb, *options, target.host, target.port, target.calling, called, *rest,
    ]  # fmt: skip


_ODIL, *_RECEIVING = (
    pytest.param(odil, id="odil"), pytest.param(pixelmed, id="PixelMed"), pytest.param(dcmjs, id="dcmjs-dimse"),
)  # fmt: skip
EVERY = pytest.mark.parametrize("client", [_ODIL, *_RECEIVING])
# odil's program has no C-MOVE.
RECEIVING = pytest.mark.parametrize("client", _RECEIVING)


@EVERY
def test_echo(target: Target, tmp_path: Path, client: Command) -> None:
    """C-ECHO to each title."""
    for title in (target.store, target.query):
        done = run(client(target, title, "echo"), tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr[-2000:]


@EVERY
def test_a_title_that_is_not_there(target: Target, tmp_path: Path, client: Command) -> None:
    """C-ECHO to an unknown title is an error."""
    assert run(client(target, "NO_SUCH_TITLE", "echo"), tmp_path).returncode != 0


@EVERY
def test_store_again(target: Target, made: Made, tmp_path: Path, client: Command) -> None:
    """C-STORE of images that are stored already."""
    done = run(client(target, target.store, "store", *made.of(CT)[:2]), tmp_path)
    said = done.stdout + done.stderr[-2000:]
    assert done.returncode == 0, said
    assert not re.search(r"failed [1-9]", said), said


@EVERY
def test_find(target: Target, made: Made, tmp_path: Path, client: Command) -> None:
    """C-FIND of the images of a study."""
    keys = [made.uid]
    if client is odil:
        keys = ["study", "QueryRetrieveLevel=IMAGE", f"StudyInstanceUID={made.uid}", "SOPInstanceUID"]
    done = run(client(target, target.query, "find", *keys), tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {uid for uid in made.files if re.search(rf"{re.escape(uid)}(?![0-9.])", done.stdout)} == set(made.files)


@EVERY
def test_get(target: Target, made: Made, tmp_path: Path, client: Command) -> None:
    """C-GET of a study, every image with equal attributes and pixels."""
    came = tmp_path / "came"
    came.mkdir()
    words: list[Word] = [made.uid, came, *made.classes()]
    if client is odil:
        words = [
            f"--directory={came}", "--layout=flat", "study", "QueryRetrieveLevel=STUDY", f"StudyInstanceUID={made.uid}",
        ]  # fmt: skip
    done = run(client(target, target.query, "get", *words), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert differences(made, came) == {}


@RECEIVING
def test_move(target: Target, made: Made, tmp_path: Path, client: Command) -> None:
    """C-MOVE of a study to itself, every image with equal attributes and pixels."""
    came = tmp_path / "came"
    came.mkdir()
    done = run(client(target, target.query, "move", made.uid, came, target.receives_at), tmp_path)
    said = done.stdout + done.stderr[-2000:]
    assert done.returncode == 0, said
    assert "status 0000" in said
    assert differences(made, came) == {}
