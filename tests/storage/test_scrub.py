"""Every copy is read again on a real PostgreSQL and SeaweedFS, and healed from the other."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hapacs_node import cli
from hapacs_node.catalog import scrub
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.errors import CasUnavailableError
from hapacs_node.integrity import record
from hapacs_node.integrity.record import Check
from hapacs_node.integrity.repair import Repairs
from hapacs_node.integrity.scrub import Outcome, Scrub, next_claim
from hapacs_node.node import Node
from hapacs_node.storage.das import Das
from hapacs_node.storage.shelves import Shelves
from tests.storage.places import NAME, lose, make_index, store
from tests.storage.servers import Postgres, SeaweedFS
from tests.storage.test_damage import damage

FAST, ALL = 10**12, 10**12


@pytest.fixture
def node(make_node: Callable[..., Node], postgres: Postgres) -> Node:
    """A node with an index of its own."""
    make_index(postgres)
    return make_node(database={"name": NAME})


def path(node: Node, row: StoredObject) -> Path:
    return node.das.settings.root / "sha256" / row.digest[:2] / row.digest[2:4] / row.digest


def leave(node: Node, postgres: Postgres, *rows: StoredObject, name: str = "pacs1") -> None:
    """Let all other shelves be read already."""
    for place in (scrub.ARCHIVE, f"das {name}"):
        work(node, name).prepare(place)
    with postgres.connect(NAME) as connection:
        shelves = [int(row.digest[:4], 16) for row in rows]
        connection.execute("update hapacs.scrub set checked_at = now() where shelf <> all(%s)", [shelves])


def work(node: Node, name: str = "pacs1", das: Das | None = None) -> Scrub:
    das = das or node.das
    repairs = Repairs(name, "anna", das, node.cas, node.storage.catalog, node.refresh)
    return Scrub(node.database, Shelves(das), repairs, FAST)


def run(node: Node, das: Das | None = None, budget: int = ALL, name: str = "pacs1") -> Outcome:
    return work(node, name, das).run(budget, datetime.now(UTC) - timedelta(days=1))


def test_whole_copies_are_read_once_and_their_use_is_not_recorded(
    node: Node, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [store(node, postgres) for _ in range(3)]
    leave(node, postgres, *rows)
    # Not by the files' times: without `noatime` the kernel changes them too.
    recorded: list[int] = []
    monkeypatch.setattr("hapacs_node.storage.files._note_use", lambda file, _: recorded.append(file))
    assert run(node) == Outcome(online=3, archived=3, bytes=12_000)
    assert run(node) == Outcome()
    assert recorded == []
    node.das.read(rows[0].digest, rows[0].size)
    assert len(recorded) == 1


def test_a_damaged_online_copy_is_healed_from_the_archive(node: Node, postgres: Postgres) -> None:
    row = store(node, postgres)
    leave(node, postgres, row)
    node.das.write(row.digest, bytes(row.size))
    assert run(node) == Outcome(online=1, archived=1, bytes=2 * row.size, healed=1)
    assert len(node.das.read(row.digest, row.size)) == row.size


def test_a_damaged_archive_copy_is_healed_from_the_das(node: Node, postgres: Postgres, seaweedfs: SeaweedFS) -> None:
    content = os.urandom(200_000)
    row = store(node, postgres, content)
    leave(node, postgres, row)
    damage(seaweedfs, content)
    assert run(node).healed == 1
    moved = node.storage.catalog.find(row.uuid)
    assert moved is not None
    assert moved.key != row.key
    assert node.cas.get(moved.key, row.digest, moved.offset, moved.length) == content
    assert node.database.run(scrub.open_damage) == []


@pytest.fixture
def other(node: Node, tmp_path: Path) -> Das:
    """The DAS of another node."""
    (tmp_path / "other").mkdir()
    return Das(node.das.settings.model_copy(update={"root": tmp_path / "other"}), node.metrics)


def test_a_lost_archive_copy_is_healed_by_the_node_that_has_the_bytes(
    node: Node, other: Das, postgres: Postgres, seaweedfs: SeaweedFS
) -> None:
    content = os.urandom(3000)
    row = store(node, postgres, content)
    leave(node, postgres, row)
    lose(seaweedfs, row.key)
    path(node, row).unlink()
    assert run(node).damaged == 1
    assert [one.uuid for one in node.database.run(scrub.open_damage)] == [row.uuid]
    other.write(row.digest, content)
    assert run(node, other, budget=0, name="pacs2").healed == 1
    assert node.database.run(scrub.open_damage) == []
    moved = node.storage.catalog.find(row.uuid)
    assert moved is not None
    assert node.cas.get(moved.key, row.digest, moved.offset, moved.length) == content


def test_what_another_node_heals_meanwhile_is_not_left_damaged(
    node: Node, other: Das, postgres: Postgres, seaweedfs: SeaweedFS
) -> None:
    content = os.urandom(3000)
    row = store(node, postgres, content)
    leave(node, postgres, row)
    lose(seaweedfs, row.key)
    path(node, row).unlink()
    other.write(row.digest, content)
    healed: list[int] = []

    def heal(_seconds: float) -> None:
        """Let the other node look, once this one has found the damage."""
        if node.database.run(scrub.open_damage):
            healed.append(run(node, other, budget=0, name="pacs2").healed)

    scrubbing = work(node)
    scrubbing.sleep = heal
    # Found a first time by a run that ends at once; the next one begins with it.
    assert run(node).damaged == 1
    with postgres.connect(NAME) as connection:
        connection.execute("update hapacs.scrub set checked_at = null where shelf = %s", [int(row.digest[:4], 16)])
    assert scrubbing.run(ALL, datetime.now(UTC) - timedelta(days=1)).damaged == 0
    assert healed == [1]


def test_the_command_reports_progress_and_what_is_damaged(
    node: Node, postgres: Postgres, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    row = store(node, postgres)
    leave(node, postgres, row)
    lose(seaweedfs, row.key)
    path(node, row).rename(tmp_path / "away")
    file = tmp_path / "node.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"results": str(tmp_path)}))
    command = ["scrub", "--config", str(file), "--json"]
    result = CliRunner().invoke(cli.app, command)
    document = json.loads(result.stdout)
    assert (result.exit_code, document["damaged"], document["archive_damaged"]) == (1, 1, 1)
    assert {place["place"]: place["checked"] for place in document["places"]} == {
        "archive": 65_536, "das pacs1": 65_536,
    }  # fmt: skip
    kept = record.read(tmp_path, Check.SCRUB)
    assert kept is not None
    assert (kept["open"], kept["totals"]) == (1, {"bytes": row.length, "healed": 0})
    (tmp_path / "away").rename(path(node, row))
    result = CliRunner().invoke(cli.app, command[:-1], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert result.exit_code == 0, result.output
    assert "1 healed, 0 left damaged; 0 images have no whole archive copy" in result.stdout
    kept = record.read(tmp_path, Check.SCRUB)
    assert kept is not None
    assert (kept["open"], kept["totals"]) == (0, {"bytes": row.length, "healed": 1})


def test_a_small_site_is_read_whole_in_few_claims_that_count_for_budget_and_rate(
    node: Node, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        store(node, postgres)
    claimed: list[list[range]] = []
    claim = scrub.claim

    def noted(*given: Any, **named: Any) -> list[range]:
        claimed.append(claim(*given, **named))
        return claimed[-1]

    monkeypatch.setattr(scrub, "claim", noted)
    scrubbing, slept = work(node), list[float]()
    scrubbing.sleep = slept.append
    assert scrubbing.run(10**9, datetime.now(UTC)) == Outcome(online=3, archived=3, bytes=12_000)
    done = [shelves for shelves in claimed if shelves]
    assert len(done) == 2 * 74
    assert all(len(shelves) == 1 for shelves in done), "what is read in order is claimed in order"
    left = node.database.run(partial(scrub.progress, before=datetime.now(UTC) - timedelta(days=1)))
    assert [(one.shelves, one.checked) for one in left] == [(65_536, 65_536)] * 2
    assert sum(slept) == pytest.approx((len(done) * 4_000_000 + 12_000) / FAST)


@pytest.mark.parametrize(
    ("shelves", "read_bytes", "then"),
    [
        (1, 0, 2),
        (4, 31_999_999, 8),
        (4, 32_000_000, 4),
        (4, 64_000_000, 4),
        (4, 64_000_001, 2),
        (1, 10**9, 1),
        (1024, 0, 1024),
    ],
)
def test_a_claim_takes_as_many_shelves_as_have_enough_bytes(shelves: int, read_bytes: int, then: int) -> None:
    assert next_claim(shelves, read_bytes) == then


def test_the_shelf_that_was_read_the_longest_ago_comes_first_and_the_budget_ends_the_run(
    node: Node, postgres: Postgres
) -> None:
    first, second = store(node, postgres), store(node, postgres)
    leave(node, postgres, first, second)
    with postgres.connect(NAME) as connection:
        for row, days in ((first, 3), (second, 4)):
            connection.execute(
                "update hapacs.scrub set checked_at = now() - %s * interval '1 day' where shelf = %s",
                [days, int(row.digest[:4], 16)],
            )
    path(node, second).unlink()
    outcome = run(node, budget=1)
    assert (outcome.online, outcome.archived) == (0, 1)
    left = node.database.run(partial(scrub.progress, before=datetime.now(UTC) - timedelta(days=1)))
    assert [(one.place, one.shelves - one.checked) for one in left] == [("archive", 1), ("das pacs1", 1)]


def test_nodes_share_the_shelves_and_a_dead_nodes_shelf_is_claimed_again(node: Node, postgres: Postgres) -> None:
    rows = [store(node, postgres) for _ in range(2)]
    leave(node, postgres, *rows)
    before = datetime.now(UTC) - timedelta(days=1)

    def claim(lease_s: float, most: int = 1) -> list[range]:
        return node.database.run(partial(scrub.claim, place=scrub.ARCHIVE, before=before, lease_s=lease_s, most=most))

    shelves = sorted(int(row.digest[:4], 16) for row in rows)
    assert claim(60) == [range(shelves[0], shelves[0] + 1)]
    assert claim(-1, 5) == [range(shelves[1], shelves[1] + 1)]
    assert claim(60, 5) == [range(shelves[1], shelves[1] + 1)]
    assert claim(60) == []


def test_neighbours_are_claimed_together_and_marked_as_read_together(node: Node, postgres: Postgres) -> None:
    leave(node, postgres)
    with postgres.connect(NAME) as connection:
        connection.execute("update hapacs.scrub set checked_at = null where shelf in (0, 1, 2, 7, 65534, 65535)")
    claim = partial(scrub.claim, place=scrub.ARCHIVE, before=datetime.now(UTC) - timedelta(days=1), lease_s=60)
    claimed = node.database.run(partial(claim, most=5))
    assert claimed == [range(3), range(7, 8), range(65534, 65535)]
    node.database.run(partial(scrub.checked, place=scrub.ARCHIVE, shelves=claimed))
    assert node.database.run(partial(claim, most=5)) == [range(65535, 65536)]
    assert node.database.run(partial(scrub.rows, shelves=range(65535, 65536))) == []


def test_when_the_archive_does_not_answer_nothing_counts_as_read(
    make_node: Callable[..., Node], node: Node, postgres: Postgres
) -> None:
    row = store(node, postgres)
    leave(node, postgres, row)
    short = {"gateways": ["http://127.0.0.1:9"], "connect_timeout_s": 1, "attempt_timeout_s": 1, "deadline_s": 1}
    cut_off = make_node(database={"name": NAME}, cas=short)
    with pytest.raises(CasUnavailableError):
        run(cut_off)
    left = cut_off.database.run(partial(scrub.progress, before=datetime.now(UTC) - timedelta(days=1)))
    assert [(one.place, one.shelves - one.checked) for one in left] == [("archive", 1), ("das pacs1", 0)]
    assert cut_off.database.run(scrub.open_damage) == []
