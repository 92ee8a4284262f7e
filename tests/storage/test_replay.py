"""Rules are compared with past images before they are live; nothing is sent or recorded."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from hapacs_node import cli
from hapacs_node.catalog import outbox
from hapacs_node.catalog.removals import Removal
from hapacs_node.errors import DasError
from hapacs_node.metrics import Metrics
from hapacs_node.node import Node
from hapacs_node.query import header
from hapacs_node.routing import replay as replay_module
from hapacs_node.routing.model import Routing
from hapacs_node.routing.replay import Outcome, Replay
from hapacs_node.routing.service import reader_of
from tests.storage.routed import ALL_CT, image, store
from tests.storage.servers import Postgres

WEEK = timedelta(days=7)
ROUTING = {
    "destinations": {"peer": {"ae_title": "PEER", "host": "192.0.2.1", "port": 104}},
    "rules": [
        {"name": "er", "when": [{"attribute": "calling_ae", "equals": "ER"}], "destinations": ["peer"]},
        ALL_CT,
        {"name": "us", "when": [{"attribute": "Modality", "equals": "US"}], "destinations": ["peer"]},
    ],
}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def past(site: Node, postgres: Postgres) -> dict[str, UUID]:
    """Three CT and an MR, one CT of them of the title ER; all other images of the catalog are old."""
    with postgres.connect() as connection:
        connection.execute("update hapacs.object set stored_at = stored_at - interval '1 year'")
    stored = {f"ct{number}": store(site, postgres, image()[1]) for number in range(2)}
    return stored | {
        "er": store(site, postgres, image()[1], "ER"),
        "mr": store(site, postgres, image("MR")[1]),
    }


def run(
    site: Node,
    routing: dict[str, Any] = ROUTING,
    *,
    head: Callable[[UUID], bytes] | None = None,
    limit_s: float = 60,
    since: timedelta = WEEK,
    pause: Callable[[float], None] = lambda _: None,
) -> Outcome:
    reader = reader_of(site.settings, site.database, Metrics())
    described_as = header.described_as(site.settings.undeclared)
    replay = Replay(site.database, head or reader.head_of, reader.read, described_as, pause)
    return replay.run(Routing.model_validate(routing), since, limit_s)


def images(found: Outcome) -> dict[str, int]:
    """Return the number of images by rule."""
    named = {rule: tally.images for (rule, _), tally in found.sent.items()}
    return named | {"none": found.unmatched.images, "unread": found.unread.images}


def no_file(_: UUID) -> bytes:
    raise DasError("the file was read")


def test_each_image_counts_for_the_first_rule_that_would_send_it(site: Node, past: dict[str, UUID]) -> None:
    found = run(site, head=no_file)
    assert images(found) == {"er": 1, "all-ct": 2, "us": 0, "none": 1, "unread": 0}
    assert found.complete
    assert found.compared.images == len(past)
    sizes = [found.unmatched.bytes, *(tally.bytes for tally in found.sent.values())]
    assert sum(sizes) == found.compared.bytes > 0
    assert len(found.sent["all-ct", "peer"].studies) == 2


def test_nothing_is_planned_or_recorded(site: Node, past: dict[str, UUID], postgres: Postgres) -> None:
    run(site)
    assert past
    with postgres.connect() as connection:
        found = connection.execute(
            "select exists (select from hapacs.task) or exists (select from hapacs.event) "
            "or exists (select from hapacs.destination) or exists (select from hapacs.ruleset)"
        )
        assert found.fetchone() == (False,)
    assert site.database.run(outbox.unmatched_today) == 0


def test_an_image_without_kept_metadata_is_read_from_its_file(
    site: Node, past: dict[str, UUID], postgres: Postgres
) -> None:
    with postgres.connect() as connection:
        connection.execute("delete from hapacs.document where uuid = any(%s)", [list(past.values())])
    assert images(run(site)) == {"er": 1, "all-ct": 2, "us": 0, "none": 1, "unread": 0}
    assert images(run(site, head=no_file))["unread"] == 4


def test_removed_and_older_images_are_left_out(site: Node, past: dict[str, UUID], postgres: Postgres) -> None:
    site.storage.remove(str(past["ct0"]), 1, Removal("removed"))
    with postgres.connect() as connection:
        connection.execute(
            "update hapacs.object set stored_at = now() - interval '8 days' where uuid = %s", [past["mr"]]
        )
    assert images(run(site)) == {"er": 1, "all-ct": 1, "us": 0, "none": 0, "unread": 0}
    assert images(run(site, since=timedelta(days=9)))["none"] == 1


def test_pages_meet_without_a_gap_also_between_images_of_one_moment(
    site: Node, past: dict[str, UUID], postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.connect() as connection:
        connection.execute(
            "update hapacs.object set stored_at = now() - interval '1 day' where uuid = any(%s)", [list(past.values())]
        )
    monkeypatch.setattr(replay_module, "_PAGE", 1)
    assert images(run(site)) == {"er": 1, "all-ct": 2, "us": 0, "none": 1, "unread": 0}


def test_the_time_limit_ends_it_and_says_how_far_it_came(
    site: Node, past: dict[str, UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert past
    monkeypatch.setattr(replay_module, "_PAGE", 1)
    found = run(site, limit_s=5, pause=lambda _: time.sleep(6))
    assert not found.complete
    assert found.compared.images == 1


@pytest.mark.usefixtures("past")
def test_the_command_prints_what_would_be_sent_by_rule_and_destination(tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps(ROUTING))
    command = ["route", "replay", str(rules), "--since-s", "3600", "--config", str(tmp_path / "node.json")]
    printed = json.loads(CliRunner().invoke(cli.app, [*command, "--json"]).stdout)
    counts = {(one["rule"], one["destination"]): one["images"] for one in printed["sent"]}
    assert counts == {("er", "peer"): 1, ("all-ct", "peer"): 2, ("us", "peer"): 0}
    assert (printed["complete"], printed["unmatched"]["images"], printed["compared"]["images"]) == (True, 1, 4)
    shown = CliRunner().invoke(cli.app, command, env={"COLUMNS": "200", "NO_COLOR": "1"}).stdout
    assert "all-ct" in shown
    assert "no rule" in shown
