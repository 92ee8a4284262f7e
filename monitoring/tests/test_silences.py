"""What operations and drills silence at a real Alertmanager, and what they do not."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from hapacs.errors import HapacsError, RefusedError
from hapacs.silences import causes, during
from hapacs.silences.alertmanager import Alertmanagers
from hapacs.site.access import Site
from monitoring.tests.running import Alertmanager, certified, free_port, running

QUIET = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"
MEMBERS = {"monitoring": ["pacs1", "pacs2"]}
SITE = cast(
    "Site",
    SimpleNamespace(
        name="primary", deployment=SimpleNamespace(name="lab"), contract={"members": MEMBERS}, nodes={}, tls=None
    ),
)
OF_DRAIN = causes.of_nodes({"pacs2": "192.0.2.2"}, MEMBERS, off=True)
DAY = timedelta(days=1)
OF_SITE = during.of_site
LABELS = {"site": "lab-primary", "severity": "ticket"}
CAUSED = (
    LABELS | {"alertname": "NodeDown", "node": "pacs2"},
    LABELS | {"alertname": "UnitInactive", "node": "pacs2", "unit": "etcd"},
    LABELS | {"alertname": "UnitRestarts", "node": "pacs2", "unit": "etcd"},
    LABELS | {"alertname": "DatabaseMemberDown", "member": "pacs2"},
    LABELS | {"alertname": "ArchiveGatewayDown", "gateway": "https://192.0.2.2:8333"},
    LABELS | {"alertname": "ServiceFailsProbe", "target": "pacs2", "service": "orthanc-store"},
)
OTHERS = {
    "NodeDown pacs1": LABELS | {"alertname": "NodeDown", "node": "pacs1"},
    "NodeDown pacs22": LABELS | {"alertname": "NodeDown", "node": "pacs22"},
    "UnitInactive pacs2": LABELS | {"alertname": "UnitInactive", "node": "pacs2", "site": "lab-dr"},
    "DiskAlmostFull pacs2": LABELS | {"alertname": "DiskAlmostFull", "node": "pacs2"},
    "DrainForgotten pacs2": LABELS | {"alertname": "DrainForgotten", "node": "pacs2"},
    "StoreUnavailable": LABELS | {"alertname": "StoreUnavailable"},
}


@pytest.fixture
def running_one(alertmanager: Path, tmp_path: Path) -> Iterator[Alertmanager]:
    with running(alertmanager, tmp_path, QUIET) as one:
        yield one


def site_with(one: Alertmanager, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return a site whose Alertmanager is the running one, by the ways that a site that is up has."""
    port = int(one.url.rpartition(":")[2])
    monkeypatch.setattr("hapacs.services.nodes.port", lambda *_: port)

    def tls(authority: str, *, client: bool) -> ssl.SSLContext:
        assert (authority, client) == ("monitoring", True)
        return context

    found = SimpleNamespace(
        name="primary", deployment=SimpleNamespace(name="lab"), contract={"members": {"monitoring": ["pacs1"]}},
        nodes={"pacs1": SimpleNamespace(address="127.0.0.1")}, tls=tls,
    )  # fmt: skip
    found.pair = partial(Site.pair, cast("Site", found))
    return cast("Site", found)


@pytest.fixture(autouse=True)
def reached(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the addresses at which the command looks for Alertmanagers; the running one is the second of two."""
    urls = [f"http://127.0.0.1:{free_port()}"]
    if "running_one" in request.fixturenames:
        urls.append(request.getfixturevalue("running_one").url)
    monkeypatch.setattr(during, "of_site", lambda _: Alertmanagers(urls, None))
    return urls


def silenced(said: list[str], comment: str = "hapacs drain", **options: Any) -> Any:
    return during.silenced(SITE, OF_DRAIN, comment, DAY, said.append, **options)


def left_s(one: dict[str, Any]) -> float:
    return (datetime.fromisoformat(one["endsAt"]) - datetime.now(UTC)).total_seconds()


def test_only_what_the_operation_causes_is_silenced(running_one: Alertmanager) -> None:
    running_one.fire(*CAUSED, *OTHERS.values())
    before, said = running_one.active(), list[str]()
    with silenced(said) as works:
        during_it = running_one.active()
    assert (works, said) == (True, [])
    assert len(before) == len(CAUSED) + len(OTHERS) - 1, "one name and node is there for two sites"
    assert during_it == set(OTHERS)


def test_after_a_success_silences_end_when_the_alerts_have_had_time_to_end(running_one: Alertmanager) -> None:
    with silenced([]):
        pass
    ends = {matcher["value"]: left_s(one) for one in running_one.silences() for matcher in one["matchers"]}
    settle_s = during.SETTLE.total_seconds()
    assert 0 < ends["ServiceFailsProbe"] <= settle_s
    assert settle_s < ends["UnitRestarts"] <= settle_s + causes.WINDOWS_S["UnitRestarts"]


def test_drain_stays_silenced_for_a_day_and_undrain_ends_it(running_one: Alertmanager) -> None:
    with silenced([], stay=True):
        pass
    times = [left_s(one) for one in running_one.silences()]
    assert times
    assert min(times) > DAY.total_seconds() - 120
    said: list[str] = []
    during.lift(SITE, "hapacs drain", said.append)
    assert said == []
    assert max(left_s(one) for one in running_one.silences()) <= during.SETTLE.total_seconds()


def test_alerts_say_what_a_failed_operation_has_broken(running_one: Alertmanager) -> None:
    running_one.fire(*CAUSED)
    with pytest.raises(HapacsError), silenced([], stay=True):
        raise HapacsError("a task failed")
    assert running_one.silences() == []
    assert "NodeDown pacs2" in running_one.active()


def test_interrupted_operation_leaves_no_silence(running_one: Alertmanager) -> None:
    with pytest.raises(KeyboardInterrupt), silenced([]):
        raise KeyboardInterrupt
    assert running_one.silences() == []


def test_refused_repetition_leaves_what_the_first_run_has_silenced(running_one: Alertmanager) -> None:
    with silenced([], stay=True):
        pass
    first = {one["id"] for one in running_one.silences()}
    with pytest.raises(RefusedError), silenced([], stay=True):
        raise RefusedError("pacs3 does not answer")
    assert {one["id"] for one in running_one.silences()} == first


def test_repeated_operation_replaces_its_silences_and_no_others(running_one: Alertmanager) -> None:
    with silenced([], "hapacs drain lab --node pacs1", stay=True), silenced([], stay=True):
        first = {one["id"] for one in running_one.silences()}
    with silenced([], stay=True):
        pass
    second = {one["id"]: one["comment"] for one in running_one.silences()}
    kept = {comment for one, comment in second.items() if one in first}
    assert kept == {"hapacs drain lab --node pacs1"}
    assert len(second) == len(first)


def test_silence_that_can_not_be_set_is_said_and_stops_nothing() -> None:
    said, ran = list[str](), False
    with silenced(said) as works:
        ran = True
    assert (works, ran, len(said)) == (False, True, 1)
    assert "not silenced: No Alertmanager answered as it should: http://127.0.0.1" in said[0]


def test_silence_that_can_not_be_taken_away_is_said(running_one: Alertmanager, reached: list[str]) -> None:
    said: list[str] = []
    with silenced(said):
        reached[:] = reached[:1]
    assert len(said) == 1
    assert "ends by itself" in said[0]
    assert running_one.silences()


def test_alertmanager_is_asked_with_the_certificate_that_it_wants(
    alertmanager: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web, context = certified(tmp_path)
    stranger = ssl.create_default_context(cafile=str(tmp_path / "pki" / "monitoring" / "ca.crt"))
    monkeypatch.setattr(during, "of_site", OF_SITE)
    refused: list[str] = []
    accepted: list[str] = []
    with running(alertmanager, tmp_path, QUIET, (web, context)) as one:
        ours = site_with(one, context, monkeypatch)
        with during.silenced(ours, OF_DRAIN, "hapacs drain", DAY, accepted.append) as works:
            assert (works, accepted) == (True, [])
            assert one.silences()
        others = site_with(one, stranger, monkeypatch)
        with during.silenced(others, OF_DRAIN, "hapacs drain", DAY, refused.append) as works:
            assert (works, len(refused)) == (False, 1)


def test_answer_that_no_alertmanager_gives_is_said(running_one: Alertmanager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpx.Response, "json", lambda _: [{"status": {}}])
    said: list[str] = []
    with silenced(said) as works:
        pass
    monkeypatch.undo()
    assert not works
    assert "KeyError" in said[0]
    assert running_one.silences() == []
