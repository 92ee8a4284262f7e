"""The planner's query of images, on an index with many other images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pytest

from hapacs.bench.rows import Rows
from hapacs_node.catalog import events
from hapacs_node.catalog.database import Connection
from tests.storage.index import Server
from tests.storage.test_bench_rows import PATTERN

STUDIES, INSTANCES, ASKED = 300, 40, 200


class Explained:
    """A connection that keeps the plan of a query, with what its steps did."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection, self.plan = connection, dict[str, Any]()

    def execute(self, sql: str, parameters: dict[str, Any]) -> list[Any]:
        row = self.connection.execute(f"explain (analyze, format json) {sql}".encode(), parameters).fetchone()
        assert row is not None
        self.plan = row[0][0]["Plan"]
        return []


def steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from steps(below)


@pytest.mark.timeout(300)
def test_no_step_is_repeated_more_often_than_images_are_asked_for(server: Server) -> None:
    rows = Rows(server)  # type: ignore[arg-type]
    rows.prepare(PATTERN)
    rows.add_block(0, STUDIES, "1.9", instances=INSTANCES)
    connection = server.connection
    # Those of orthanc-postgresql that lead to all series and to their children.
    connection.execute("create index on dicomidentifiers (taggroup, tagelement)")
    connection.execute("create index on resources (parentid)")
    connection.execute("analyze")
    uuids = [row[0] for row in connection.execute("select uuid from hapacs.object limit %s", [ASKED])]
    explained = Explained(connection)
    events.images(cast("Connection", explained), uuids)
    assert explained.plan["Actual Rows"] == ASKED
    assert max(step["Actual Loops"] for step in steps(explained.plan)) <= ASKED
