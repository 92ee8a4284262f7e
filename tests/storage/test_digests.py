"""Digests over rows of a real catalog: the order of rows does not count, each value does."""

from datetime import datetime
from uuid import uuid4

import pytest

from hapacs.site import digests
from hapacs_node.catalog.catalog import Catalog
from tests.storage.conftest import row
from tests.storage.servers import Postgres


def digest(postgres: Postgres, until: str, zone: str = "UTC") -> dict[str, list[str]]:
    """Return the digests of each table as psql prints them."""
    with postgres.connect() as connection:
        connection.execute("set timezone = 'UTC'" if zone == "UTC" else "set timezone = 'Asia/Tokyo'")
        return {
            table: ["|".join(map(str, one)) for one in connection.execute(statement.encode())]
            for table, statement in digests.statements(until).items()
        }


def now(postgres: Postgres) -> str:
    with postgres.connect() as connection:
        found = connection.execute("select clock_timestamp()").fetchone()
    assert found is not None
    assert isinstance(found[0], datetime)
    return str(found[0])


@pytest.fixture
def until(catalog: Catalog, postgres: Postgres) -> str:
    for _ in range(50):
        catalog.add(row(uuid4()))
    return now(postgres)


def test_rows_are_the_same_in_another_order_and_another_time_zone(postgres: Postgres, until: str) -> None:
    before = digest(postgres, until)
    with postgres.connect() as connection:
        # Writes the rows in the order of another index.
        connection.execute("cluster hapacs.object using object_stored_at")
    assert digest(postgres, until, "Asia/Tokyo") == before
    assert sum(int(one.split("|")[1]) for one in before["hapacs.object"]) >= 50


def test_later_rows_change_nothing(catalog: Catalog, postgres: Postgres, until: str) -> None:
    before = digest(postgres, until)
    catalog.add(row(uuid4()))
    assert digest(postgres, until) == before


def test_one_changed_value_is_seen_in_one_part(catalog: Catalog, postgres: Postgres) -> None:
    uuid = uuid4()
    catalog.add(row(uuid))
    until = now(postgres)
    before = digest(postgres, until)["hapacs.object"]
    with postgres.connect() as connection:
        connection.execute("update hapacs.object set key = key || 'x' where uuid = %s", [uuid])
    after = digest(postgres, until)["hapacs.object"]
    assert len(set(before) ^ set(after)) == 2
    found = digests.compared(before, after, before)
    assert (found["different"], found["ok"]) == (1, False)
