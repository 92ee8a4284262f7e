"""Of two sites one leads: a site that hears of a higher term is fenced, and stores copies only."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner, Result

from hapacs_node.catalog import replication, site
from hapacs_node.catalog.site import Change, Standing
from hapacs_node.cli import app
from hapacs_node.errors import FencedError, NodeError
from hapacs_node.metrics import Metrics
from hapacs_node.node import Node
from hapacs_node.replication import exchange, watchdog
from hapacs_node.replication.exchange import Exchange, Statement
from hapacs_node.replication.model import SecondSite as Model
from hapacs_node.replication.names import CALLER
from hapacs_node.routing.peer import Access
from hapacs_node.routing.service import Service
from tests.storage.routed import image, run_until, store
from tests.storage.servers import Postgres
from tests.storage.test_replication import switch_on
from tests.support.second_site import SecondSite

pytestmark = pytest.mark.timeout(200)
CT1 = "title:CT1"


@pytest.fixture
def site_(site: Node) -> Node:
    return site


def said(state: str = "leads", term: int = 2, **more: Any) -> dict[str, Any]:
    document = {"state": state, "term": term, "as_of": datetime.now(UTC).isoformat(), "images": 0, "oldest_s": 0,
                "past_ended": True, "missing": []}  # fmt: skip
    return document | more


def standing(node: Node) -> Standing:
    found = node.database.run(site.find)
    assert found is not None
    return found


def begin(node: Node, role: site.Role = "primary") -> None:
    node.database.run(lambda c: site.switch(c, role, "test"))


def change(node: Node, state: site.State, term: int) -> bool:
    known = standing(node).term
    return node.database.run(lambda c: site.change(c, Change(state, term, known, "op", "test")))


def put(node: Node, caller: str | None) -> None:
    """Store an image of a caller in the storage area."""
    node.storage.create(str(uuid4()), 1, image()[1], caller)


def asking(node: Node, second: SecondSite, now_s: float = 1000) -> Exchange:
    """Return an exchange that asks at once, of a service that started long ago."""
    times = iter((0.0, *[now_s] * 10))
    return Exchange(node.database, second.access, Metrics(), lambda: next(times))


def ask(node: Node, made: Exchange, second: SecondSite) -> None:
    node.database.run(lambda c: c.execute("update hapacs.site set due_at = now()"))
    assert made.ask(Model(name="dr", url=second.url)) == 1


def test_a_site_without_another_one_stores(site_: Node) -> None:
    put(site_, CT1)
    assert site_.database.run(site.fenced) is None


def test_a_fenced_site_stores_copies_and_nothing_of_callers(site_: Node) -> None:
    begin(site_)
    put(site_, CT1)
    assert change(site_, "fenced", 1)
    for caller in (CT1, "user:hapacs-probe"):
        with pytest.raises(FencedError, match="this site is fenced: test"):
            put(site_, caller)
    put(site_, CALLER)
    # What a node makes again from the archive has no caller.
    put(site_, None)
    assert change(site_, "leads", 3)
    put(site_, CT1)


def test_of_a_batch_only_the_callers_images_are_refused(site_: Node, postgres: Postgres) -> None:
    begin(site_)
    change(site_, "fenced", 1)
    with postgres.connect() as connection:
        before = connection.execute("select count(*) from hapacs.object").fetchone()
    with pytest.raises(FencedError):
        put(site_, CT1)
    put(site_, CALLER)
    with postgres.connect() as connection:
        after = connection.execute("select count(*) from hapacs.object").fetchone()
    assert before is not None
    assert after is not None
    assert int(str(after[0])) == int(str(before[0])) + 1


def test_the_fence_is_seen_by_the_health_probe_and_refuses_before_bytes_are_kept(site_: Node) -> None:
    begin(site_)
    fence = site_.objects.fence
    probe = site_.health.probes["database"]
    assert probe() == "the leader accepts writes"
    assert not site_.objects.decides
    change(site_, "fenced", 1)
    assert probe() == "the leader accepts writes; this site is fenced: test"
    assert site_.objects.decides
    with pytest.raises(FencedError):
        fence.check(CT1)
    fence.check(CALLER)
    change(site_, "leads", 2)
    probe()
    fence.check(CT1)


def test_the_primary_gives_way_to_a_higher_term_and_says_so(site_: Node, second: SecondSite) -> None:
    begin(site_)
    made = asking(site_, second)
    second.says = said("follows", 1)
    ask(site_, made, second)
    assert standing(site_).state == "leads"
    second.says = said("leads", 2)
    ask(site_, made, second)
    found = standing(site_)
    assert (found.state, found.term) == ("fenced", 1)
    assert found.reason == "the other site leads with term 2"
    assert found.other is not None
    assert found.other["term"] == 2
    assert second.heard[-1]["state"] == "leads"
    with pytest.raises(FencedError):
        put(site_, CT1)


def test_the_second_site_follows_again_and_stores_on(site_: Node) -> None:
    begin(site_, "dr")
    assert standing(site_).state == "follows"
    put(site_, CT1)
    assert change(site_, "leads", 2)
    site_.database.run(lambda c: exchange.hear(c, Statement(**said("leads", 3))))
    assert standing(site_).state == "follows"
    put(site_, CT1)


def test_an_equal_or_lower_term_and_a_late_message_change_nothing(site_: Node) -> None:
    begin(site_)
    change(site_, "leads", 3)
    for one in (said("leads", 3), said("leads", 2), said("fenced", 9)):
        site_.database.run(partial(exchange.hear, said=Statement(**one)))
        assert standing(site_).state == "leads"
    late = said("leads", 7, as_of="2020-01-01T00:00:00+00:00")
    site_.database.run(lambda c: exchange.hear(c, Statement(**late)))
    assert standing(site_).state == "leads"


def test_a_change_needs_the_known_term(site_: Node) -> None:
    begin(site_)
    assert not site_.database.run(lambda c: site.change(c, Change("fenced", 1, 9, "op", "test")))
    assert standing(site_).state == "leads"


WATCHDOG = {"alerts": [{"status": "firing", "labels": {"alertname": "Watchdog", "site": "test-dr"}}]}


def test_the_watchdog_of_the_other_site_is_noted(site_: Node) -> None:
    begin(site_)
    metrics = Metrics()
    site_.database.run(lambda c: c.execute("update hapacs.site set watched_at = '2020-01-01'"))
    assert watchdog.hear(site_.database, json.dumps(WATCHDOG).encode()) == {}
    heard = standing(site_).watched_at
    assert abs((datetime.now(UTC) - heard).total_seconds()) < 60
    made = Exchange(site_.database, Access(), metrics, lambda: 0.0)
    made.show()
    labels = {"role": "primary"}
    assert metrics.registry.get_sample_value("hapacs_site_watched_time_seconds", labels) == heard.timestamp()


def test_a_site_without_another_one_takes_no_watchdog(site_: Node) -> None:
    with pytest.raises(NodeError, match="copies are not switched on here"):
        watchdog.hear(site_.database, json.dumps(WATCHDOG).encode())


@pytest.mark.parametrize(
    "message",
    [
        {"alerts": []},
        {"alerts": [{"status": "resolved", "labels": {"alertname": "Watchdog"}}]},
        {"alerts": [{"status": "firing", "labels": {"alertname": "NodeDown"}}]},
        {"alerts": [*WATCHDOG["alerts"], {"status": "firing", "labels": {"alertname": "NodeDown"}}]},
        [],
    ],
)
def test_another_message_is_no_watchdog(site_: Node, message: object) -> None:
    begin(site_)
    before = standing(site_).watched_at
    with pytest.raises(ValidationError):
        watchdog.hear(site_.database, json.dumps(message).encode())
    assert standing(site_).watched_at == before


def test_one_node_asks_in_a_period(site_: Node) -> None:
    begin(site_)
    assert site_.database.run(site.claim)
    assert not site_.database.run(site.claim)


def test_a_primary_that_was_off_for_long_asks_before_it_stores(site_: Node, second: SecondSite) -> None:
    begin(site_)
    put(site_, CT1)
    site_.database.run(lambda c: c.execute("update hapacs.site set asked_at = '2020-01-01'"))
    with pytest.raises(FencedError, match="has not asked the other one yet"):
        put(site_, CT1)
    put(site_, CALLER)
    # Nobody answers. At first that may be because both are starting.
    ask(site_, asking(site_, second, exchange.PATIENCE_S - 1), second)
    with pytest.raises(FencedError):
        put(site_, CT1)
    ask(site_, asking(site_, second, exchange.PATIENCE_S + 1), second)
    put(site_, CT1)


def test_a_second_site_that_was_off_for_long_asks_nobody(site_: Node) -> None:
    begin(site_, "dr")
    site_.database.run(lambda c: c.execute("update hapacs.site set asked_at = '2020-01-01'"))
    put(site_, CT1)


def test_a_fence_outlives_settings_without_copies(site_: Node) -> None:
    begin(site_)
    change(site_, "fenced", 1)
    site_.database.run(lambda c: site.switch(c, None, "test"))
    assert standing(site_).state == "fenced"
    change(site_, "leads", 2)
    site_.database.run(lambda c: site.switch(c, None, "test"))
    assert site_.database.run(site.find) is None


def test_a_site_names_the_images_that_have_no_copy(
    site_: Node, services: Callable[..., Service], second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site_, second)
    begin(site_)
    second.says = said("follows", 1)
    (first, content), (later, other) = image(), image()
    second.refused[first] = 0xA700
    store(site_, postgres, content)
    own = site_.database.run(exchange.own)
    assert own is not None
    assert own.missing == (first,)
    service = services(None, second.access)
    run_until(service, lambda: bool(second.requests), "the request")
    store(site_, postgres, other)
    own = site_.database.run(exchange.own)
    assert own is not None
    assert (own.missing, own.images) == ((later, first), 2)
    assert own.oldest_s > 0
    # The service asks by itself.
    run_until(service, lambda: bool(second.heard), "the question")
    assert second.heard[0]["state"] == "leads"


def test_an_image_that_never_came_into_the_index_is_not_missing(site_: Node, second: SecondSite) -> None:
    switch_on(site_, second)
    begin(site_)
    put(site_, CT1)
    own = site_.database.run(exchange.own)
    assert own is not None
    assert (own.images, own.missing) == (0, ())


def test_resync_asks_for_confirmed_images_and_copies_again(
    site_: Node, services: Callable[..., Service], second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site_, second, past=True)
    kept, content = image()
    copy, other = image()
    store(site_, postgres, content)
    store(site_, postgres, other)
    site_.database.run(
        lambda c: c.execute("update hapacs.object set caller = %s where size = %s", [CALLER, len(other)])
    )
    service = services(None, second.access)

    def lag() -> replication.Lag:
        found = site_.database.run(replication.lag)
        assert found is not None
        return found

    run_until(service, lambda: kept in second.kept and lag().images == 0, "the copies")
    second.kept.clear()
    with postgres.connect() as connection:
        connection.execute("update hapacs.replication set since = now() - interval '1 hour'")
    assert site_.database.run(replication.resync)
    # Images of other tests are in the index too, and not all of them can be read.
    run_until(service, lambda: {kept, copy} <= set(second.kept), "the past")
    assert lag().past_at is not None


def test_the_command_shows_and_changes(site_: Node, tmp_path: Path) -> None:
    def run(words: str, reason: str = "") -> Result:
        more = ["--reason", reason] if reason else []
        configured = ["--config", str(tmp_path / "node.json")]
        return CliRunner().invoke(app, ["site", *words.split(), *more, *configured], env={"COLUMNS": "200"})

    assert "no image is copied" in run("show").output
    begin(site_)
    changed = run("change fenced --term 1 --known 1 --json", "a drill")
    assert changed.exit_code == 0, changed.output
    document = json.loads(changed.stdout)
    assert (document["site"]["state"], document["fenced"]) == ("fenced", "this site is fenced: a drill")
    refused = run("change leads --term 2 --known 7", "a mistake")
    assert refused.exit_code == 1
    assert "the term of this site is not 7" in refused.output
    assert "this site (primary): fenced, term 1" in run("show").output
