"""Deleted studies of a site: which node is asked, what is printed, and how the commands end."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from hapacs.cli import chosen
from hapacs.cli import study as command
from hapacs.errors import HapacsError, UsageError
from hapacs.site import study
from hapacs.site.access import Node, NodeError, Site

STUDY = "1.2.3"
DELETED = {
    "ok": True,
    "unread": 0,
    "studies": [
        {
            "study": STUDY, "images": 20, "missing": 3, "first_at": "2026-11-28T08:00:00+00:00",
            "last_at": "2026-11-28T08:00:05+00:00", "callers": ["title:CT1", "unknown"], "nodes": ["pacs2"],
        }
    ],
}  # fmt: skip
RESTORED = {
    "ok": False,
    "study": STUDY,
    "counts": {"restored": 19, "unreadable": 1},
    "images": [
        {"series": "1", "sop": "1.2.3.1.7", "digest": "ab" * 32, "state": "unreadable", "detail": "no copy"},
        {"series": "1", "sop": "1.2.3.1.8", "digest": "ab" * 32, "state": "restored", "detail": ""},
    ],
}


class FakeSite:
    """A site of two nodes, of which pacs2 stores."""

    def __init__(self) -> None:
        self.name = "primary"
        self.nodes = {name: Node(name, f"10.0.0.{n}", "", "hapacs", 22) for n, name in ((1, "pacs1"), (2, "pacs2"))}
        self.report: dict[str, Any] | None = DELETED
        self.down: set[str] = set()
        self.unhealthy: set[str] = set()
        self.asked: list[tuple[str, list[str]]] = []
        self.text = ""

    def members(self, _group: str) -> list[Node]:
        return list(self.nodes.values())

    def hapacs(self, node: str, _service: str, _path: str) -> tuple[int, dict[str, Any]]:
        return (503 if node in self.unhealthy else 200), {}

    def run(self, node: Node, words: Sequence[str], text: str, _timeout_s: float = 60) -> str:
        self.text = text
        if node.name in self.down:
            raise NodeError(node.name, "no answer within 60 s")
        self.asked.append((node.name, shlex.split(" ".join(words))))
        return "" if self.report is None else f"{json.dumps(self.report)}\n"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> FakeSite:
    fake = FakeSite()
    monkeypatch.setattr(study, "collect", lambda _: SimpleNamespace(writers=["pacs2"]))
    monkeypatch.setattr(chosen, "sites", lambda _name, _site: [fake])
    return fake


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(command.app, list(arguments), env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_deleted_studies_are_asked_of_the_first_node_that_answers(site: FakeSite) -> None:
    site.down = {"pacs1"}
    assert study.deleted(cast(Site, site), "2026-11-28T00:00:00") == {"node": "pacs2", **DELETED}
    ((node, words),) = site.asked
    assert node == "pacs2"
    assert words[3:7] == ["deleted", "--since", "2026-11-28T00:00:00", "--json"]
    site.down = {"pacs1", "pacs2"}
    with pytest.raises(NodeError, match="no answer"):
        study.deleted(cast(Site, site), None)


def test_the_node_that_stores_restores_through_its_own_orthanc(site: FakeSite) -> None:
    site.report = RESTORED
    study.restore(cast(Site, site), STUDY)
    ((node, words),) = site.asked
    assert node == "pacs2"
    assert words[2:7] == ["study", "restore", STUDY, "--store", "https://10.0.0.2:8042"]


def test_a_restoration_without_a_storing_node_or_a_uid_is_refused(site: FakeSite) -> None:
    site.unhealthy = {"pacs2"}
    with pytest.raises(HapacsError, match="can store now"):
        study.restore(cast(Site, site), STUDY)
    with pytest.raises(UsageError, match="is not a UID"):
        study.restore(cast(Site, site), "1.2; reboot")
    assert not site.asked


def test_a_node_without_a_report_is_an_error(site: FakeSite) -> None:
    site.report = None
    with pytest.raises(NodeError, match="printed no report"):
        study.deleted(cast(Site, site), None)


def test_deleted_studies_are_printed_with_callers(site: FakeSite) -> None:
    code, printed = run("deleted", "lab")
    assert code == 0
    for word in (STUDY, "2026-11-28 08:00:05 UTC", "20", "3", "title:CT1, unknown", "pacs2"):
        assert word in printed
    site.report = {**DELETED, "studies": [], "unread": 2}
    code, printed = run("deleted", "lab")
    assert code == 1
    assert "no study was deleted" in printed
    assert "2 deleted images can't be read now" in printed


@pytest.mark.usefixtures("site")
def test_deleted_studies_are_one_document_for_machines() -> None:
    code, printed = run("deleted", "lab", "--json")
    assert code == 0
    assert json.loads(printed) == {"deployment": "lab", "site": "primary", "node": "pacs1", **DELETED}


def test_an_image_that_was_not_restored_is_named_and_fails_the_command(site: FakeSite) -> None:
    site.report = RESTORED
    code, printed = run("restore", "lab", STUDY)
    assert code == 1
    assert "19 restored" in printed
    assert "1.2.3.1.7 unreadable no copy" in printed
    assert "1.2.3.1.8" not in printed


def test_a_restored_study_ends_well_and_an_unknown_one_does_not(site: FakeSite) -> None:
    site.report = {"ok": True, "study": STUDY, "counts": {"present": 20}, "images": [RESTORED["images"][1]]}  # type: ignore[index]
    assert run("restore", "lab", STUDY) == (0, "20 already in the index\n")
    site.report = {"ok": False, "study": STUDY, "counts": {}, "images": []}
    assert run("restore", "lab", STUDY) == (1, f"no image of study {STUDY} was deleted\n")


SHOWN = {
    "ok": True,
    "study": STUDY,
    "patient": {"PatientID": "R7", "PatientName": "Right^Person"},
    "series": [
        {
            "patient_id": "p1", "resource": "abc", "uid": "1.2.3.1", "modality": "CT", "images": 20, "size": 1,
            "callers": ["title:CT1"], "first_at": None, "last_at": "2026-11-28 08:00:00+00:00", "hidden": True,
        }
    ],
    "removed": {"images": 2, "last_at": "2026-11-28 09:00:00+00:00", "callers": ["user:anna"]},
    "corrections": [
        {
            "id": 7, "kind": "hide", "series": "", "who": "anna", "why": "wrong [scan]", "patient": {"PatientID": "R8"},
            "made_at": "2026-11-28 10:00:00+00:00", "ended_at": "2026-11-28 11:00:00+00:00", "ended_by": "ben",
            "ended_why": "right after all",
        }
    ],
}  # fmt: skip


def outcome(what: str, **changes: object) -> dict[str, Any]:
    done = {"what": what, "study": STUDY, "series": "", "images": 20, "done": True, "number": 7, "detail": "",
            "before": {}, "after": {}, "studies": []}  # fmt: skip
    return {"ok": True, "dry": False, **done, **changes}


def test_a_study_is_shown_with_corrections_and_removed_images(site: FakeSite) -> None:
    site.report = SHOWN
    code, printed = run("show", "lab", STUDY)
    assert code == 0
    for word in (
        "p1",
        "1.2.3.1",
        "title:CT1",
        "hidden",
        "2 removed images",
        "user:anna",
        "wrong [scan]",
        "by ben",
        "7",
    ):
        assert word in printed
    site.report = {**SHOWN, "ok": False}
    code, printed = run("show", "lab", STUDY)
    assert code == 1
    assert f"knows nothing of study {STUDY}" in printed
    code, printed = run("show", "lab", STUDY, "--json")
    assert code == 1
    assert json.loads(printed)["corrections"] == SHOWN["corrections"]


@pytest.mark.parametrize(
    ("what", "node", "more"),
    [("hide", "pacs1", []), ("unhide", "pacs1", []), ("delete", "pacs2", ["--store", "https://10.0.0.2:8042"])],
)
def test_a_correction_is_done_when_it_is_confirmed_and_its_reason_is_no_word_of_a_command(
    site: FakeSite, what: str, node: str, more: list[str]
) -> None:
    site.report = outcome(what, done=False, number=None)
    code, printed = run(what, "lab", STUDY, "--why", "was Smith", "--who", "anna", "--series", "1.2.3.1")
    assert (code, "Nothing was done yet: add --yes" in printed) == (0, True)
    site.report = outcome(what)
    code, printed = run(what, "lab", STUDY, "--why", "was Smith", "--who", "anna", "--yes")
    assert (code, "number 7" in printed) == (0, True)
    (_, dry), (asked, words) = site.asked
    assert (
        dry[2:12] == ["study", what, STUDY, "--series", "1.2.3.1", "--who", "anna", "--why", "-", *more, "--json"][:10]
    )
    assert (asked, words[2:9]) == (node, ["study", what, STUDY, "--yes", "--who", "anna", "--why"])
    assert site.text == "was Smith"


def test_a_correction_that_is_in_force_or_of_no_uid_changes_nothing(site: FakeSite) -> None:
    site.report = outcome("hide", done=False, detail="it is hidden already")
    code, printed = run("hide", "lab", STUDY, "--why", "x", "--yes")
    assert (code, "Nothing was done: it is hidden already" in printed) == (0, True)
    code, printed = run("hide", "lab", STUDY, "--why", "x", "--yes", "--json")
    assert json.loads(printed)["detail"] == "it is hidden already"
    site.report = {"ok": False, "error": "it is not hidden"}
    with pytest.raises(HapacsError, match="it is not hidden"):
        study.correct(cast(Site, site), "unhide", study.Asked(STUDY, "", "", "x", yes=True))
    for wrong in (study.Asked("1; rm", "", "", "x", yes=True), study.Asked(STUDY, "$(x)", "", "x", yes=True)):
        with pytest.raises(UsageError, match="is not a UID"):
            study.correct(cast(Site, site), "hide", wrong)
    with pytest.raises(UsageError, match="is not a UID"):
        study.show(cast(Site, site), "$(x)")
    assert len(site.asked) == 3


def test_the_patients_of_a_move_are_no_words_of_a_command(site: FakeSite) -> None:
    site.report = outcome("move", before={"PatientID": "W1"}, after={"PatientID": "R7", "PatientName": "[R]^Person"})
    code, printed = run(
        "move", "lab", STUDY, "--patient-id", "R7", "--patient-name", "[R]^Person", "--sex", "F", "--why", "was Smith",
        "--who", "anna", "--yes",
    )  # fmt: skip
    assert code == 0
    for word in ("before: PatientID W1", "after: PatientID R7, PatientName [R]^Person", "number 7"):
        assert word in printed
    ((_, words),) = site.asked
    assert words[2:8] == ["study", "move", STUDY, "--yes", "--who", "anna"]
    patient = {"PatientID": "R7", "PatientName": "[R]^Person", "PatientSex": "F"}
    assert json.loads(site.text) == {"why": "was Smith", "patient": patient, "like": "", "merged": {}}


def test_a_merge_names_two_patients_and_no_study(site: FakeSite) -> None:
    site.report = outcome("merge", study="", studies=[STUDY, "1.2.4"], done=False, number=None)
    code, printed = run("merge", "lab", "W1", "R7", "--from-issuer", "OLD", "--why", "twice", "--who", "anna")
    assert (code, "merge 2 studies: 20 images" in printed) == (0, True)
    ((_, words),) = site.asked
    assert words[2:7] == ["study", "merge", "--who", "anna", "--json"]
    asked = json.loads(site.text)
    assert (asked["merged"], asked["patient"]) == (
        {"PatientID": "W1", "IssuerOfPatientID": "OLD"},
        {"PatientID": "R7"},
    )
    site.report = outcome("unmove")
    code, _ = run("unmove", "lab", STUDY, "--why", "right after all", "--yes")
    assert (code, site.text, site.asked[1][1][2:5]) == (0, "right after all", ["study", "unmove", STUDY])
    code, printed = run("move", "lab", STUDY, "--like", "1; rm", "--why", "x")
    assert code != 0
