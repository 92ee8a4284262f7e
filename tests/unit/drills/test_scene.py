"""Which node a fault hits, and that it is undone on every node although one answers late."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hapacs import playbook
from hapacs.drills import scene, subjects, table
from hapacs.drills.model import Prepared, UnprovedError
from hapacs.drills.scene import SiteScene
from hapacs.errors import HapacsError, RefusedError
from hapacs.site.access import NodeError, Site
from hapacs.site.running import RunningSite
from tests.unit.site import documents

(DRILL,) = table.named(["storing-killed"])


class FakeSite:
    """Three nodes; `late` is how often a node does not answer before it does."""

    def __init__(self, late: dict[str, int]) -> None:
        self.late, self.asked = late, list[str]()
        self.commands, self.failure = list[tuple[str, str, float]](), cast("NodeError | None", None)
        self.name = "primary"
        self.contract = dict[str, Any]()
        self.nodes = {name: SimpleNamespace(name=name) for name in ("a", "b", "c")}
        self.deployment = SimpleNamespace(directory="d", logs="l", environment=dict)

    def run(self, node: Any, words: Sequence[str], _text: str, timeout_s: float = 0) -> str:
        if "heal" not in words[0]:
            self.commands.append((node.name, words[0], timeout_s))
            if self.failure:
                raise self.failure
            return '{"at": 7.5}\n{"proof": "9 processes are gone"}\n'
        if self.late.get(node.name, 0):
            self.late[node.name] -= 1
            raise NodeError(node.name, "no answer")
        self.asked.append(node.name)
        return ""


def made(late: dict[str, int] | None = None) -> tuple[SiteScene, FakeSite]:
    site = FakeSite(late or {})
    return SiteScene(cast("Site", site), lambda _: None), site


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hapacs.drills.scene.time.sleep", lambda _: None)


def test_fault_is_undone_on_every_node_also_on_one_that_answers_late() -> None:
    subject, site = made({"b": 3})
    subject.heal("")
    assert sorted(site.asked) == ["a", "b", "c"]


def test_node_that_never_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene, "_LEASE_MARGIN_S", 0)
    subject, _ = made({"b": 10**9})
    with pytest.raises(HapacsError, match="A fault on b may still be there"):
        subject.heal("")


def test_playbook_prepares_a_fault_and_injects_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[tuple[str, dict[str, Any]]] = []

    def run(name: str, **options: Any) -> Any:
        played.append((name, options["variables"]))
        return SimpleNamespace(said=['{"node": "b", "fault": {"kind": "kill"}, "proof_s": 15}'])

    monkeypatch.setattr(playbook, "run", run)
    subject, site = made()
    assert subject.prepare(DRILL, b"\x01\xff") == Prepared(("",), ("b",), {"kind": "kill"}, 15)
    assert played == [("drill_storing_killed", {"drill_inject": False, "drill_bytes": "01ff", "site": "primary"})]
    assert site.commands == []


PREPARED = Prepared(("",), ("b",), {"kind": "kill", "unit": "it's"}, 15)


def test_fault_is_injected_and_proved_in_one_call() -> None:
    subject, site = made()
    injected = subject.inject(DRILL, PREPARED)
    assert (injected.node, injected.at, injected.proof) == ("b", 7.5, "9 processes are gone")
    ((node, command, timeout_s),) = site.commands
    assert (node, timeout_s) == ("b", 75)
    inject, prove = command.split(" && ")
    program = "/usr/local/lib/hapacs/hapacs-drill"
    assert shlex.split(inject) == ["sudo", program, "inject", "75", '{"kind": "kill", "unit": "it\'s"}']
    assert shlex.split(prove) == ["sudo", program, "prove", "15"]


def test_node_that_refuses_a_fault_or_sees_no_effect_makes_no_proof() -> None:
    subject, site = made()
    site.failure = NodeError("b", "the fault has not taken effect")
    with pytest.raises(UnprovedError, match="on b, or took no effect: the fault has not taken effect"):
        subject.inject(DRILL, PREPARED)


@pytest.mark.parametrize(
    ("name", "variables", "task", "node"),
    [
        ("address-switchover", {"what": "address"}, "Hand the virtual address over to b", "b"),
        ("storing-restarted", {"service": "orthanc-store"}, "Hand over what depends on orthanc-store.service", "b"),
    ],
)
def test_operation_begins_with_the_task_that_changes_the_site(
    monkeypatch: pytest.MonkeyPatch, name: str, variables: dict[str, str], task: str, node: str
) -> None:
    (drill,) = table.named([name])
    played: list[dict[str, Any]] = []

    def run(_name: str, **options: Any) -> Any:
        played.append(options["variables"])
        options["on_task"]("Select the site")
        begun.append(time.time())
        options["on_task"](task)
        return SimpleNamespace(said=["it moved"])

    begun: list[float] = []
    monkeypatch.setattr(playbook, "run", run)
    monkeypatch.setattr(scene, "collect", lambda _: RunningSite.parse(documents.plain("a", "b", "c")))
    injected = made()[0].inject(drill, Prepared())
    assert (injected.node, injected.proof) == (node, "it moved")
    assert injected.at >= begun[0]
    assert played == [variables | {"site": "primary"}]


def test_operation_that_changes_nothing_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playbook, "run", lambda *_, **__: SimpleNamespace(said=["nothing to do"]))
    (drill,) = table.named(["address-switchover"])
    with pytest.raises(UnprovedError, match=r"switchover.yml changed nothing"):
        made()[0].inject(drill, Prepared())


def test_playbook_that_fails_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(name: str, **_: Any) -> Any:
        raise playbook.PlaybookError(name, cast("Any", SimpleNamespace(failures=[], log="log")))

    monkeypatch.setattr(playbook, "run", run)
    with pytest.raises(UnprovedError):
        made()[0].prepare(DRILL, b"")


class FakePower:
    """A power switch that notes what it did."""

    def __init__(self) -> None:
        self.off_now: list[str] = []

    def off(self, node: str) -> None:
        self.off_now.append(node)


@pytest.fixture
def power(monkeypatch: pytest.MonkeyPatch) -> FakePower:
    made = FakePower()
    monkeypatch.setattr("hapacs.drills.scene.targets.power", lambda _: made)
    monkeypatch.setattr(scene, "collect", lambda _: RunningSite.parse(documents.plain("a", "b", "c")))
    return made


def test_two_nodes_lose_their_power_and_that_with_the_offices_stays(power: FakePower) -> None:
    (drill,) = table.named(["two-nodes-off"])
    subject, _ = made()
    prepared = subject.prepare(drill, b"")
    assert power.off_now == []
    places = prepared.places
    injected = subject.inject(drill, prepared)
    assert (sorted(power.off_now), len(places)) == (sorted(places), 2)
    assert "c" in places
    assert injected.node == ", ".join(places)
    assert injected.whole_at is not None
    assert injected.whole_at >= injected.at


@pytest.mark.parametrize(("name", "office"), [("storing-off", "storing"), ("address-off", "address")])
@pytest.mark.parametrize("leads", [False, True])
def test_office_moves_away_from_a_node_whose_loss_takes_longer(
    monkeypatch: pytest.MonkeyPatch, power: FakePower, name: str, office: str, leads: bool
) -> None:
    (drill,) = table.named([name])
    plain = documents.plain("a", "b", "c")
    plain["states"]["a"]["archive_leads"], plain["states"]["b"]["archive_leads"] = not leads, leads
    monkeypatch.setattr(scene, "collect", lambda _: RunningSite.parse(plain))
    played: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(playbook, "run", lambda name, **options: played.append((name, options["variables"])))
    made()[0].prepare(drill, b"")
    moved = ("switchover", {"what": office, "node": "c", "site": "primary"})
    assert played == ([moved] if leads else [])
    assert power.off_now == []


def test_drill_is_refused_when_no_node_is_without_a_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = documents.plain("a", "b")
    plain["states"]["b"]["archive_leads"] = True
    monkeypatch.setattr(scene, "collect", lambda _: RunningSite.parse(plain))
    with pytest.raises(RefusedError, match="leads database or archive"):
        made()[0].prepare(table.named(["storing-off"])[0], b"")


def test_second_fault_comes_while_the_first_is_there(monkeypatch: pytest.MonkeyPatch, power: FakePower) -> None:
    (drill,) = table.named(["node-off-leader-killed"])
    played: list[tuple[str, dict[str, Any], list[str]]] = []

    def run(name: str, **options: Any) -> Any:
        played.append((name, options["variables"], list(power.off_now)))
        return SimpleNamespace(said=['{"node": "a", "at": 7.5, "proof": "9 processes are gone"}'])

    monkeypatch.setattr(playbook, "run", run)
    subject, _ = made()
    prepared = subject.prepare(drill, b"")
    injected = subject.inject(drill, prepared)
    assert prepared.places == ("c", "")
    assert (injected.node, injected.proof) == ("c, a", "the machine of c does not run; 9 processes are gone")
    assert injected.at > 7.5, "the first fault counts"
    variables = {"drill_lease_s": 120, "site": "primary", "drill_verb": "any"}
    assert played == [("drill_database_leader_killed", variables, ["c"])]


def test_site_with_too_few_nodes_refuses_the_drill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene, "collect", lambda _: RunningSite.parse(documents.plain("a")))
    (drill,) = table.named(["two-nodes-off"])
    with pytest.raises(RefusedError, match="1 of the 2 nodes"):
        made()[0].prepare(drill, b"")


def test_refusal_needs_status_and_health_of_every_storing_service(monkeypatch: pytest.MonkeyPatch) -> None:
    site = documents.plain("a", "b")
    monkeypatch.setattr(scene, "collect", lambda _: RunningSite.parse(site))
    assert made()[0].refusal() == ""
    site["states"]["b"]["health"]["orthanc-store"] = "no second database"
    assert made()[0].refusal() == "", "the service on a says that it stores"
    site["states"]["a"]["health"]["orthanc-store"] = "no second database"
    assert made()[0].refusal() == "orthanc-store on b does not work: no second database; no second database"


@pytest.mark.parametrize(
    ("subject", "node"),
    [
        ("storing", "b"), ("database", "a"), ("address", "b"), ("archive_leader", "a"), ("etcd_leader", "c"),
        ("etcd_member", "a"),
        ("spare", "c"), ("archive", "c"),
    ],
)  # fmt: skip
def test_fault_hits_the_node_in_that_office(subject: str, node: str) -> None:
    assert subjects.nodes(RunningSite.parse(documents.plain("a", "b", "c")), subject)[0] == node


def test_unknown_subject_is_an_error() -> None:
    with pytest.raises(ValueError, match="no subject 'writer'"):
        subjects.nodes(RunningSite.parse(documents.plain("a", "b", "c")), "writer")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> tuple[SiteScene, dict[str, Any]]:
    """A scene with another site, and what that one is said to be."""
    said: dict[str, Any] = {
        "problems": [],
        "lag": {"images": 0, "unplanned": 0, "past_images": 0, "removals": 0, "bytes": 0, "past_bytes": 0, "rpo_s": 0},
        "compared": {"equal": True, "counts": {"only_here": 0}},
    }
    other = SimpleNamespace(name="dr", nodes={"dr1": None, "dr2": None})
    subject, site = made()
    site.contract = {"routing": {"second_site": {"name": "dr"}}}
    monkeypatch.setattr(scene, "sites", lambda _: [site, other])
    monkeypatch.setattr(scene, "collect", lambda one: one)
    monkeypatch.setattr(scene, "blocking_problems", lambda one: said["problems"] if one is other else [])
    monkeypatch.setattr("hapacs.site.second_site.lag", lambda *_: said["lag"])
    monkeypatch.setattr("hapacs.site.second_site.compare", lambda *_: said["compared"])
    return subject, said


def test_power_of_all_nodes_of_the_other_site_is_cut(elsewhere: tuple[SiteScene, dict[str, Any]]) -> None:
    (drill,) = table.named(["other-site-off"])
    assert elsewhere[0].prepare(drill, b"") == Prepared(("dr1", "dr2"))


def test_line_to_the_other_site_is_cut_on_every_node_of_the_site(
    elsewhere: tuple[SiteScene, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (drill,) = table.named(["other-site-cut"])
    said = [f'{{"node": "{node}", "fault": {{"kind": "cut"}}, "proof_s": 15}}' for node in "abc"]
    played: list[str] = []

    def run(name: str, **_: Any) -> Any:
        played.append(name)
        return SimpleNamespace(said=said)

    monkeypatch.setattr(playbook, "run", run)
    subject, _ = elsewhere
    prepared = subject.prepare(drill, b"")
    assert prepared == Prepared(("",), ("a", "b", "c"), {"kind": "cut"}, 15)
    assert played == ["drill_other_site_cut"]
    site = cast("FakeSite", subject.site)
    assert site.commands == []
    injected = subject.inject(drill, prepared)
    assert sorted(node for node, _, _ in site.commands) == ["a", "b", "c"]
    assert {shlex.split(command)[3] for _, command, _ in site.commands} == {"120"}
    assert (injected.node, injected.at) == ("a, b, c", 7.5)
    assert injected.proof.count("9 processes are gone") == 3


def test_other_site_is_behind_until_both_are_equal(elsewhere: tuple[SiteScene, dict[str, Any]]) -> None:
    subject, said = elsewhere
    assert subject.behind() == []
    said["compared"] = {"equal": False, "counts": {"only_here": 3, "only_there": 0}}
    assert subject.behind() == ["only_here: 3"]
    said["lag"] |= {"images": 1200, "unplanned": 1, "removals": 2}
    assert subject.behind() == ["dr lacks 1,203 images"]
    said["problems"] = ["dr1 does not answer"]
    assert subject.behind() == ["dr: dr1 does not answer"]


def test_site_that_does_not_say_what_the_other_one_lacks_proves_nothing(
    elsewhere: tuple[SiteScene, dict[str, Any]],
) -> None:
    subject, said = elsewhere
    for lag in (None, {"name": "dr", "unknown": "no node answers"}):
        said["lag"] = lag
        with pytest.raises(HapacsError, match="does not say what the other site lacks"):
            subject.lacking()


@pytest.mark.parametrize("name", ["other-site-off", "other-site-cut"])
def test_site_without_another_one_refuses_the_drill(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    subject, site = made()
    monkeypatch.setattr(scene, "sites", lambda _: [site])
    with pytest.raises(RefusedError, match="no other site that gets its images"):
        subject.prepare(table.named([name])[0], b"")
