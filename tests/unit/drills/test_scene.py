"""Which node a fault hits, and that it is undone on every node although one answers late."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hapacs import playbook
from hapacs.drills import scene, subjects, table
from hapacs.drills.model import UnprovedError
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
        self.name = "primary"
        self.nodes = {name: SimpleNamespace(name=name) for name in ("a", "b", "c")}
        self.deployment = SimpleNamespace(directory="d", logs="l", environment=dict)

    def run(self, node: Any, words: Sequence[str], _text: str) -> str:
        assert "heal" in words[0]
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


def test_injected_fault_is_what_the_node_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[tuple[str, dict[str, Any]]] = []

    def run(name: str, **options: Any) -> Any:
        played.append((name, options["variables"]))
        return SimpleNamespace(said=['{"node": "b", "at": 7.5, "proof": "9 processes are gone"}'])

    monkeypatch.setattr(playbook, "run", run)
    injected = made()[0].inject(DRILL, [""], b"\x01\xff")
    assert (injected.node, injected.at, injected.proof) == ("b", 7.5, "9 processes are gone")
    assert played == [("drill_storing_killed", {"drill_lease_s": 75, "drill_bytes": "01ff", "site": "primary"})]


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
    injected = made()[0].inject(drill, [""], b"")
    assert (injected.node, injected.proof) == (node, "it moved")
    assert injected.at >= begun[0]
    assert played == [variables | {"site": "primary"}]


def test_operation_that_changes_nothing_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playbook, "run", lambda *_, **__: SimpleNamespace(said=["nothing to do"]))
    (drill,) = table.named(["address-switchover"])
    with pytest.raises(UnprovedError, match=r"switchover.yml changed nothing"):
        made()[0].inject(drill, [""], b"")


def test_playbook_that_fails_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(name: str, **_: Any) -> Any:
        raise playbook.PlaybookError(name, cast("Any", SimpleNamespace(failures=[], log="log")))

    monkeypatch.setattr(playbook, "run", run)
    with pytest.raises(UnprovedError):
        made()[0].inject(DRILL, [""], b"")


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
    places = subject.places(drill)
    injected = subject.inject(drill, places, b"")
    assert (sorted(power.off_now), len(places)) == (sorted(places), 2)
    assert "c" in places
    assert injected.node == ", ".join(places)


def test_second_fault_comes_while_the_first_is_there(monkeypatch: pytest.MonkeyPatch, power: FakePower) -> None:
    (drill,) = table.named(["node-off-leader-killed"])
    played: list[tuple[str, dict[str, Any], list[str]]] = []

    def run(name: str, **options: Any) -> Any:
        played.append((name, options["variables"], list(power.off_now)))
        return SimpleNamespace(said=['{"node": "a", "at": 7.5, "proof": "9 processes are gone"}'])

    monkeypatch.setattr(playbook, "run", run)
    subject, _ = made()
    injected = subject.inject(drill, subject.places(drill), b"")
    assert subject.places(drill) == ["c", ""]
    assert (injected.node, injected.proof) == ("c, a", "the machine of c does not run; 9 processes are gone")
    assert injected.at > 7.5, "the first fault counts"
    variables = {"drill_lease_s": 120, "site": "primary", "drill_verb": "any"}
    assert played == [("drill_database_leader_killed", variables, ["c"])]


def test_site_with_too_few_nodes_refuses_the_drill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene, "collect", lambda _: RunningSite.parse(documents.plain("a")))
    (drill,) = table.named(["two-nodes-off"])
    with pytest.raises(RefusedError, match="1 of the 2 nodes"):
        made()[0].places(drill)


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
