"""The report and how checks get into it."""

from __future__ import annotations

from typing import cast

import pytest

from hapacs import verify
from hapacs.deployment import Deployment
from hapacs.errors import HapacsError
from hapacs.site import access
from hapacs.verify import Check, Evidence, Report
from hapacs.verify.report import CheckFailedError, listed


def test_document_has_the_documented_keys() -> None:
    report = Report((Check("etcd-quorum", True, "3 members", 0.2), Check("c-echo", False, "no answer")))
    assert report.document() == {
        "ok": False,
        "checks": [
            {"name": "etcd-quorum", "ok": True, "detail": "3 members"},
            {"name": "c-echo", "ok": False, "detail": "no answer"},
        ],
    }


def test_report_without_checks_is_not_ok() -> None:
    assert Report(()).ok is False


def test_many_problems_are_cut_and_counted() -> None:
    assert listed(["a", "b", "c"], shown=2) == "a; b; and 1 more"


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    called: list[str] = []

    def good(_: Evidence) -> str:
        called.append("good")
        return "seen"

    def bad(_: Evidence) -> str:
        raise CheckFailedError("two leaders")

    def broken(_: Evidence) -> str:
        raise ZeroDivisionError("oops")

    functions = {"good": good, "bad": bad, "broken": broken}
    found = tuple(verify.Entry(name, f"the log of {name}", function) for name, function in functions.items())
    monkeypatch.setattr(verify, "_entries", lambda: found)
    monkeypatch.setattr(access, "sites", lambda _: [object()])
    return called


def test_crashed_check_is_reported_and_the_others_run(entries: list[str]) -> None:
    seen: list[Check] = []
    report = verify.run(cast(Deployment, object()), seen.append)
    assert entries == ["good"]
    assert [(check.name, check.ok, check.detail) for check in report.checks] == [
        ("good", True, "seen"),
        ("bad", False, "two leaders. Look at the log of bad."),
        ("broken", False, "ZeroDivisionError: oops. Look at the log of broken."),
    ]
    assert seen == list(report.checks)
    assert not report.ok


@pytest.mark.usefixtures("entries")
def test_only_the_named_checks_run() -> None:
    report = verify.run(cast(Deployment, object()), only=["good"])
    assert [check.name for check in report.checks] == ["good"]
    assert report.ok


@pytest.mark.usefixtures("entries")
def test_unknown_check_is_refused_with_the_names_of_all() -> None:
    with pytest.raises(HapacsError, match="Known checks: good, bad, broken"):
        verify.run(cast(Deployment, object()), only=["goood"])


def test_failed_round_trip_fails_each_check_that_needs_it_and_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from hapacs.verify import marked, round_trip  # noqa: PLC0415

    attempts = []

    def fail(*_: object) -> None:
        attempts.append(1)
        raise HapacsError("no route to the virtual address")

    monkeypatch.setattr(marked, "remove_leftovers", lambda _: None)
    monkeypatch.setattr(round_trip, "run", fail)
    evidence = Evidence(cast(access.Site, object()))
    for _ in range(3):
        with pytest.raises(HapacsError, match="no route to the virtual address"):
            _ = evidence.round_trip
    assert len(attempts) == 1
