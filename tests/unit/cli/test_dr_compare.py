"""`hapacs dr compare`: what is shown, and the exit code."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from hapacs.cli import app, chosen
from hapacs.errors import ExitCode, UsageError
from hapacs.site import second_site

KINDS = ("only_here", "only_there", "different", "waiting", "deleted_here", "left_out")
EQUAL: dict[str, Any] = {
    "equal": True, "second_site": "dr", "compared": 1200, "there": 1200, "duration_s": 3.2, "locks": 900, "reasons": {},
    **{kind: [] for kind in KINDS}, "counts": dict.fromkeys(KINDS, 0),
}  # fmt: skip
DIFFERENT = EQUAL | {
    "equal": False, "only_here": ["1.2.3"], "counts": EQUAL["counts"] | {"only_here": 4100},
    "reasons": {"1.2.3": "set aside: [no]"},
}  # fmt: skip


def site(name: str, **routing: object) -> SimpleNamespace:
    return SimpleNamespace(name=name, contract={"routing": routing})


@pytest.mark.parametrize(
    ("report", "code", "shown"),
    [
        (EQUAL, ExitCode.OK, ["the same images: 1,200 of main compared with 1,200 of dr", "locks of 900"]),
        (DIFFERENT, ExitCode.FAILED, ["only at main", "4,100", "1.2.3", "set aside: [no]", "not the same images"]),
    ],
)
def test_the_site_that_copies_is_asked(
    report: dict[str, Any], code: int, shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def compare(at: Any, study: str) -> dict[str, Any]:
        asked.append((at.name, study))
        return report

    monkeypatch.setattr(chosen, "sites", lambda *_: [site("other"), site("main", second_site={"name": "dr"})])
    monkeypatch.setattr(second_site, "compare", compare)
    done = CliRunner().invoke(app, ["dr", "compare", "lab", "--study", "1.9"])
    assert done.exit_code == code, done.output
    assert all(part in done.output for part in shown)
    machine = CliRunner().invoke(app, ["dr", "compare", "lab", "--json"])
    assert (machine.exit_code, json.loads(machine.stdout)) == (code, {"deployment": "lab", "site": "main", **report})
    assert asked == [("main", "1.9"), ("main", "")]


def test_a_deployment_without_copies_is_told_how_to_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen, "sites", lambda *_: [site("main")])
    done = CliRunner().invoke(app, ["dr", "compare", "lab"])
    assert isinstance(done.exception, UsageError)
    assert "policy.replicate" in done.exception.hint
