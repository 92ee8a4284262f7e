"""Which drills may run where and when, which nodes they hit, and what the table promises."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from hapacs.deployment import PROJECT
from hapacs.drills import allowed, probes, table, window
from hapacs.drills.load import kept
from hapacs.drills.model import DEADLINES_S, Drill, InARow, OnNode, OtherSite
from hapacs.errors import UsageError
from hapacs.load.check import Problem, Reason, Verdict
from hapacs.settings import Settings, load

PLAYBOOKS = PROJECT / "ansible" / "playbooks"
RUNBOOKS = PROJECT / "docs" / "operations" / "drills"
SUNDAY = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)
LAB = load(PROJECT / "inventories" / "lab" / "settings.yaml")
HOSPITAL = load(PROJECT / "inventories" / "example-hospital" / "settings.yaml")


def with_window(text: str) -> Settings:
    return HOSPITAL.model_copy(update={"drills": HOSPITAL.drills.model_copy(update={"window": text})})


def test_deadlines_are_those_that_the_documents_promise() -> None:
    assert DEADLINES_S == {"entry": 10, "storing": 10, "database": 30, "archive": 30, "data": 0, "planned": 5}


def test_every_fault_on_a_node_has_its_playbook_and_no_playbook_is_left_over() -> None:
    shared = {"drill_heal", "drill_forbid", "drill_allow"}
    made = {path.stem for path in PLAYBOOKS.glob("drill_*.yml")}
    on_nodes = [drill for drill in table.DRILLS if isinstance(drill.fault, OnNode) or drill.fault == OtherSite("cut")]
    assert made - shared == {drill.playbook for drill in on_nodes}


@pytest.mark.parametrize("drill", table.DRILLS, ids=lambda drill: drill.name)
def test_every_drill_has_a_runbook(drill: Drill) -> None:
    text = (RUNBOOKS / f"{drill.name}.md").read_text(encoding="utf-8")
    assert f"{drill.deadline_s} s" in text
    assert f"({drill.name}.md)" in (RUNBOOKS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(PLAYBOOKS.glob("drill_*_*.yml")), ids=lambda path: path.stem)
def test_every_fault_uses_the_frame(path: Path) -> None:
    (play,) = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert play["ansible.builtin.import_playbook"] == "drill.yml"
    optional = {"drill_proof_s", "drill_certificate_directory"}
    assert set(play["vars"]) - optional == {"drill_subject", "drill_fault"}


def test_kinds_of_faults_are_those_that_the_role_and_its_program_know() -> None:
    role = PROJECT / "ansible" / "roles" / "drill"
    plays = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in PLAYBOOKS.glob("drill_*_*.yml")]
    asked = {play["vars"]["drill_fault"]["kind"] for (play,) in plays}
    program = (role / "files" / "hapacs-drill").read_text(encoding="utf-8")
    choice = program.partition('match fault["kind"]')[2].partition("\ndef ")[0]
    cases = re.findall(r"^        case (.*):$", choice, re.MULTILINE)
    known = set(re.findall(r'"(\w+)"', " ".join(cases)))
    assert set(yaml.safe_load((role / "vars" / "main.yml").read_text(encoding="utf-8"))["__drill_kinds"]) == known
    assert asked <= known


def test_names_of_drills_are_unique() -> None:
    assert len({drill.name for drill in table.DRILLS}) == len(table.DRILLS)


def test_second_fault_of_two_in_a_row_has_its_playbook() -> None:
    named = {drill.fault.playbook for drill in table.DRILLS if isinstance(drill.fault, InARow)}
    assert named
    assert named <= {path.stem for path in PLAYBOOKS.glob("drill_*.yml")}


def test_node_that_is_off_is_off_for_longer_than_every_lease() -> None:
    (drill,) = table.named(["node-off-and-back"])
    # Leader of the database, and the longest validity of the archive's tokens.
    roles = PROJECT / "ansible" / "roles"
    leases = [yaml.safe_load((roles / "postgres" / "defaults" / "main.yml").read_text())["postgres_ttl_s"]]
    for file in (roles / "seaweedfs" / "templates").glob("security*.toml.j2"):
        leases += [int(text) for text in re.findall(r"expires_after_seconds = (\d+)", file.read_text())]
    assert len(leases) > 1
    assert drill.hold_s > max(leases)


def test_unknown_drill_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no drill storing-sings"):
        table.named(["storing-killed", "storing-sings"])


def test_lab_offers_every_drill_but_that_of_a_clock_at_any_time() -> None:
    offered = [drill for drill in table.DRILLS if drill.name != "clock-off"]
    assert allowed.possible(table.DRILLS, LAB) == offered
    assert allowed.refusals(offered, LAB, SUNDAY, meant=False) == []


def test_lab_says_why_a_wrong_clock_would_be_void() -> None:
    (reason,) = allowed.refusals(table.named(["clock-off"]), LAB, SUNDAY, meant=False)
    assert "would be void: the nodes share the clock of one machine" in reason


def test_hospital_offers_safe_drills_only_and_none_that_cuts_power() -> None:
    offered = allowed.possible(table.DRILLS, HOSPITAL)
    assert offered
    assert all(drill.production and not drill.cuts_power for drill in offered)


def test_only_drills_that_switch_nodes_off_need_a_target_that_can() -> None:
    needed = {drill.name for drill in table.DRILLS if drill.cuts_power}
    assert needed == {
        "storing-off", "address-off", "database-leader-off", "node-off-and-back", "two-nodes-off",
        "node-off-leader-killed", "other-site-off",
    }  # fmt: skip


def test_hospital_without_a_window_refuses_every_drill() -> None:
    drills = table.named(["storing-killed"])
    assert "maintenance window" in allowed.refusals(drills, HOSPITAL, SUNDAY, meant=True)[0]


@pytest.mark.parametrize(
    ("text", "meant", "refused"),
    [
        ("Sun 02:00-04:00", True, 0),
        ("Sun 02:00-04:00", False, 1),
        ("Mon 02:00-04:00", True, 1),
        ("Sun 04:00-05:00", False, 2),
    ],
)
def test_hospital_needs_window_and_intention(text: str, meant: bool, refused: int) -> None:
    drills = table.named(["storing-killed"])
    assert len(allowed.refusals(drills, with_window(text), SUNDAY, meant=meant)) == refused


def test_drill_that_is_not_safe_is_refused_in_a_hospital_even_in_the_window() -> None:
    drills = table.named(["database-leader-paused"])
    (reason,) = allowed.refusals(drills, with_window("daily 02:00-04:00"), SUNDAY, meant=True)
    assert "not marked safe" in reason


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("Sun 02:00-04:00", True),
        ("Sun 03:00-03:00", True),
        ("Sun 03:01-04:00", False),
        ("Sat 22:00-04:00", True),
        ("Sun 22:00-04:00", False),
        ("daily 22:00-04:00", True),
        ("daily 04:00-22:00", False),
    ],
)
def test_window_begins_on_its_day_and_may_go_over_midnight(text: str, inside: bool) -> None:
    assert window.contains(text, SUNDAY) is inside


def test_every_kind_of_problem_of_the_check_is_counted() -> None:
    reasons = (Reason.NOT_IN_QIDO, Reason.OTHER_BYTES, Reason.FOUND_TWICE, Reason.NOT_LOCKED)
    verdict = Verdict(9, 1, 2, problems=[Problem(f"1.{number}", reason) for number, reason in enumerate(reasons)])
    found = kept(verdict)
    counts = (found.acknowledged, found.lost, found.corrupted, found.duplicated, found.unknown, found.unprotected)
    assert counts == (9, 1, 1, 1, 2, 1)
    assert found.problems[0] == "1.0: not-in-qido"


def test_times_of_queries_count_failures_and_the_longest_time_without_one() -> None:
    answers = [(1.0, 0.1, True), (2.0, 0.2, True), (5.0, 3.0, False), (8.0, 0.1, True)]
    found = probes.times(answers, 0.0, 9.0)
    assert (found.count, found.failed, found.longest_s, found.longest_without_s) == (4, 1, 3.0, 6.0)
    assert (found.p50_s, found.p99_s) == (0.1, 3.0)


def test_no_answer_at_all_is_the_whole_time_without_one() -> None:
    assert probes.times([], 10.0, 40.0).longest_without_s == 30.0


def test_drills_of_the_other_site_need_one_that_gets_copies() -> None:
    drills = table.named(["other-site-off", "other-site-cut"])
    alone = LAB.model_copy(update={"sites": {name: site for name, site in LAB.sites.items() if site.role == "primary"}})
    assert allowed.possible(drills, LAB) == drills
    assert allowed.possible(drills, alone) == []
