"""`hapacs load`: limits, refusals, exit codes and JSON; the site is an SCP on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from typer.testing import CliRunner

from hapacs.cli import app
from hapacs.deployment import Deployment
from hapacs.dicom import Caller, Peer, files, marks
from hapacs.load import check as checking
from hapacs.load.check import Problem, Reason, Verdict
from hapacs.load.ledger import Ledger
from hapacs.site import access, marked


@pytest.fixture
def status() -> list[int]:
    """The status of every C-STORE."""
    return [0]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def site(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, status: list[int]) -> Iterator[Any]:
    entity = AE(ae_title="HAPACS")
    entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: status[0])])
    assert server is not None
    found = SimpleNamespace(
        caller=Caller("MODALITY"), store_peer=Peer("127.0.0.1", server.server_address[1], "HAPACS", 5)
    )
    monkeypatch.setattr(Deployment, "load", lambda _: deployment)
    monkeypatch.setattr(access, "sites", lambda _: [found])
    yield found
    server.shutdown()


def run(ledger: Path, *words: str) -> Any:
    return CliRunner().invoke(app, ["load", "run", "--ledger", str(ledger), "--mix", "ct", *words])


@pytest.mark.usefixtures("site")
def test_run_sends_the_number_of_images_and_describes_them(ledger: Path) -> None:
    done = run(ledger, "--images", "5", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["acknowledged"], document["acknowledged_now"], document["repeated"]) == (5, 5, 0)
    kept = Ledger(ledger)
    assert {entry.patient_id[: len(marks.LOAD)] for entry in kept.entries()} == {marks.LOAD}
    kept.close()
    done = run(ledger, "--images", "2")
    assert done.exit_code == 0
    assert "2 images acknowledged" in done.output
    assert "In the ledger: 7 acknowledged" in done.output


@pytest.mark.usefixtures("site")
def test_run_ends_with_its_time_and_tells_what_was_refused(ledger: Path, status: list[int]) -> None:
    status[0] = 0xA700
    done = run(ledger, "--associations", "1", "--seconds", "1", "--json")
    assert done.exit_code == 4
    document = json.loads(done.stdout)
    assert (document["acknowledged"], document["refused"]) == (0, 1)
    assert set(document["reasons"]) == {"status 0xA700"}


@pytest.mark.usefixtures("site")
def test_files_are_sent_once_and_others_are_named(ledger: Path, tmp_path: Path) -> None:
    directory = tmp_path / "files"
    directory.mkdir()
    (ct,) = (path for path in files.shipped_with_pydicom() if path.name == "CT_small.dcm")
    for name in ("a.dcm", "b.dcm"):
        (directory / name).write_bytes(ct.read_bytes())
    (directory / "note.txt").write_text("no DICOM")
    done = run(ledger, "--files", str(directory))
    assert done.exit_code == 0, done.output
    assert "1 images acknowledged" in done.output
    assert "b.dcm is not sent: the same SOP instance" in done.output
    assert "note.txt is not sent: no DICOM file" in done.output


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    "words", [("--associations", "0"), ("--mix", "ct=80,xa=20"), ("--mix", "ct=0"), ("--mix", "ct=many")]
)
def test_wrong_options_are_refused_before_anything_is_sent(ledger: Path, words: tuple[str, ...]) -> None:
    done = run(ledger, *words)
    assert done.exception is not None
    assert getattr(done.exception, "exit_code", None) == 2
    assert not ledger.exists()


@pytest.mark.usefixtures("site")
def test_deployment_that_is_no_lab_needs_consent(
    ledger: Path, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(deployment.settings.target), "expendable", False)
    done = run(ledger, "--images", "1")
    assert getattr(done.exception, "exit_code", None) == 3
    assert not ledger.exists()
    assert run(ledger, "--images", "1", "--i-mean-it").exit_code == 0


@pytest.mark.usefixtures("site")
def test_check_prints_each_problem_and_ends_with_4(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Ledger(ledger).close()
    verdict = Verdict(3, 1, 0, 1, [Problem("1.2.3", Reason.UNREADABLE)])
    monkeypatch.setattr(checking, "check", lambda *_, **__: verdict)
    words = ["load", "check", "--ledger", str(ledger)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 4
    assert "lost (unreadable) 1.2.3" in done.output
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 4
    assert json.loads(done.stdout)["problems"] == [
        {"uid": "1.2.3", "kind": "lost", "reason": "unreadable", "detail": ""}
    ]
    verdict.problems.clear()
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0
    assert "None is lost" in done.output


@pytest.mark.usefixtures("site")
def test_check_of_a_ledger_that_is_missing_makes_none(ledger: Path) -> None:
    done = CliRunner().invoke(app, ["load", "check", "--ledger", str(ledger)])
    assert getattr(done.exception, "exit_code", None) == 2
    assert not ledger.exists()


@pytest.mark.usefixtures("site")
def test_remove_takes_only_images_of_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[str] = []

    def remove(_site: Any, mark: str) -> int:
        removed.append(mark)
        return 7

    monkeypatch.setattr(marked, "remove", remove)
    done = CliRunner().invoke(app, ["load", "remove", "--json"])
    assert json.loads(done.stdout) == {"removed": 7}
    assert removed == [marks.LOAD]
