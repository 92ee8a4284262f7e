"""pynetdicom's applications, which need no code of ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread

from hapacs.load.waiting import eventually
from tests.conformance.target import Made, Target, Word, differences, run
from tests.support.ports import listens

CLIENT = "pynetdicom"
CT = "1.2.840.10008.5.1.4.1.1.2"

pytestmark = [pytest.mark.long, pytest.mark.timeout(10 * 60)]


def words(target: Target, application: str, called: str, *more: Word) -> list[Word]:
    """Return the command of an application."""
    return [
        sys.executable, "-m", "pynetdicom", application, target.host, target.port, *more,
        "-aet", target.calling, "-aec", called, "-v",
    ]  # fmt: skip


def test_echo(target: Target, tmp_path: Path) -> None:
    """C-ECHO to each title."""
    for title in (target.store, target.query):
        done = run(words(target, "echoscu", title), tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "0x0000" in done.stdout + done.stderr


def test_store_again(target: Target, made: Made, tmp_path: Path) -> None:
    """C-STORE of images that are stored already."""
    for file in made.of(CT)[:2]:
        done = run(words(target, "storescu", target.store, file), tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "Status: 0x0000" in done.stdout + done.stderr


def test_find(target: Target, made: Made, tmp_path: Path) -> None:
    """C-FIND of the images of a study, whose answers it writes to files."""
    keys = ["-k", "QueryRetrieveLevel=IMAGE", "-k", f"StudyInstanceUID={made.uid}", "-k", "SOPInstanceUID="]
    done = run(words(target, "findscu", target.query, "-S", "-w", *keys), tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {str(dcmread(file, force=True).SOPInstanceUID) for file in tmp_path.glob("rsp*.dcm")} == set(made.files)


def test_get(target: Target, made: Made, tmp_path: Path) -> None:
    """C-GET of a study, every image with equal attributes and pixels."""
    came = tmp_path / "came"
    came.mkdir()
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={made.uid}"]
    done = run(words(target, "getscu", target.query, "-S", "-od", came, *keys), tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert differences(made, came) == {}


@contextmanager
def receiving(target: Target, directory: Path) -> Generator[None]:
    """Run storescp at the caller's port: the receiver within movescu listens on the loopback only."""
    words = [sys.executable, "-m", "pynetdicom", "storescp", str(target.receives_at), "-aet", target.calling]
    with subprocess.Popen([*words, "-od", str(directory)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as scp:
        try:
            eventually("storescp listens", lambda: listens(target.receives_at), 30)
            yield
        finally:
            scp.terminate()


def test_move(target: Target, made: Made, tmp_path: Path) -> None:
    """C-MOVE of a study to itself, every image with equal attributes and pixels."""
    came = tmp_path / "came"
    came.mkdir()
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={made.uid}"]
    with receiving(target, came):
        done = run(words(target, "movescu", target.query, "-S", "-aem", target.calling, *keys), tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert differences(made, came) == {}, done.stdout + done.stderr[-2000:]
