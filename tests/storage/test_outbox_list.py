"""Lists of the outbox on a real PostgreSQL: what they show, and how many rows they read for it."""

from collections.abc import Iterator
from typing import Any

import pytest

from hapacs_node.catalog import outbox, ruleset
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.outbox import Selection
from hapacs_node.catalog.tasks import Lane
from hapacs_node.node import Node
from tests.storage.routed import TABLES
from tests.storage.servers import Postgres
from tests.storage.test_outbox import CT, READING, store

ENDED = 20_000


@pytest.fixture
def database(node: Node, postgres: Postgres) -> Iterator[Database]:
    """A catalog with two destinations, and many tasks that are at their end."""
    with postgres.connect() as connection:
        connection.execute(f"truncate {TABLES}")
    node.database.run(lambda c: ruleset.load(c, {"rules": []}, [CT, READING], active=True, by="test"))
    one = store(node.database)
    with postgres.connect() as connection:
        connection.execute(
            """
            insert into hapacs.task (kind, destination, uuid, study, series, sop, sop_class, transfer_syntax, size,
                                     node, rule, priority, state)
            select 'k' || i, 'workstation', %s, '1.9', '1.9.1', '1.9.1.' || i, '1', '1', 1,
                   'pacs1', 'all', 1, 'confirmed'
            from generate_series(1, %s) as i
            """,
            [one, ENDED],
        )
    yield node.database
    with postgres.connect() as connection:
        connection.execute(f"truncate {TABLES}")


def listed(database: Database, *, state: str | None = None, limit: int = 100, **selected: Any) -> list[tuple[str, str]]:
    found = database.run(lambda c: outbox.tasks(c, Selection(**selected), state, limit))
    return [(one.destination, one.state) for one in found]


def dead(database: Database, lane: Lane) -> None:
    """Make a task dead."""
    uuid = store(database, lane)
    database.run(lambda c: c.execute("update hapacs.task set state = 'dead' where uuid = %s", [uuid]))


def read(node: Any) -> float:
    """Return how many rows the nodes of a plan have read."""
    own = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    return float(own) + sum(read(inner) for inner in node.get("Plans", ()))


def test_all_tasks_that_are_not_at_their_end_are_listed(database: Database) -> None:
    for lane, priority in ((CT, 2), (READING, 1), (CT, 0)):
        store(database, lane, priority=priority)
    dead(database, READING)
    database.run(lambda c: outbox.intervene(c, "hold", Selection(study="1.2", destination="reading"), "op", "test"))
    assert listed(database) == [
        ("workstation", "waiting"), ("reading", "held"), ("reading", "dead"), ("workstation", "waiting")
    ]  # fmt: skip
    assert listed(database, destination="reading") == [("reading", "held"), ("reading", "dead")]
    assert listed(database, state="waiting", limit=1) == [("workstation", "waiting")]
    assert listed(database, study="1.9", state="confirmed", limit=2) == [("workstation", "confirmed")] * 2
    assert listed(database, study="1.9") == []


def test_of_many_waiting_tasks_those_that_are_sent_first_are_listed(database: Database) -> None:
    for lane in (CT, READING, CT):
        store(database, lane, priority=2)
    urgent = store(database, READING, priority=0)
    found = database.run(lambda c: outbox.tasks(c, Selection(), "waiting", 2))
    assert [(one.destination, one.priority) for one in found] == [("reading", 0), ("workstation", 2)]
    assert found[0].sop == str(urgent.int)


@pytest.mark.parametrize("selected", [{}, {"destination": "workstation"}])
@pytest.mark.parametrize("state", [None, *outbox.STATES])
def test_a_list_does_not_read_the_tasks_that_are_at_their_end(
    database: Database, postgres: Postgres, state: str | None, selected: dict[str, Any]
) -> None:
    for lane in (CT, READING):
        store(database, lane)
    selection = Selection(**selected)
    with postgres.connect() as connection:
        connection.execute("analyze hapacs.task")
        parameters = selection.parameters() | {"state": state, "limit": 100}
        query = f"explain (analyze, format json) {outbox.listing(selection, state)}"
        found = connection.execute(query, parameters).fetchone()
    assert found is not None
    document: Any = found[0]
    assert read(document[0]["Plan"]) < 100
