"""The drill's tombstone on a real catalog: the index refers to it, reconcile would find it, and it is taken away."""

from __future__ import annotations

from types import ModuleType
from uuid import UUID

import pytest

from hapacs_node.node import Node
from tests.storage.routed import image, store
from tests.storage.servers import Postgres
from tests.unit.ansible.loading import load_script


@pytest.fixture
def rows(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, whose statements go to the database of the test."""
    module = load_script("drill/files/drill_rows.py")

    def run(*_: str, text: str) -> str:
        with postgres.connect() as connection:
            cursor = connection.execute(text.encode())
            return "\n".join(str(row[0]) for row in cursor) if cursor.description else ""

    monkeypatch.setattr(module, "run", run)
    return module


def tombstoned(postgres: Postgres, uuid: UUID) -> bool:
    with postgres.connect() as connection:
        row = connection.execute("select tombstoned_at from hapacs.object where uuid = %s", [uuid]).fetchone()
    assert row is not None
    return row[0] is not None


def test_the_image_that_was_stored_last_is_marked_and_the_mark_taken_away(
    node: Node, postgres: Postgres, rows: ModuleType
) -> None:
    before = store(node, postgres, image()[1])
    last = store(node, postgres, image()[1])
    fault = rows.Tombstone({"database": "pacs"})
    plan = fault.plan()
    assert plan == {"uuid": str(last)}
    assert fault.proof(plan) == ""
    fault.apply(plan)
    assert tombstoned(postgres, last)
    assert not tombstoned(postgres, before)
    assert str(last) in fault.proof(plan)
    fault.undo(plan)
    assert fault.proof(plan) == ""
    assert not tombstoned(postgres, last)


def test_a_removal_of_the_site_itself_is_not_undone(node: Node, postgres: Postgres, rows: ModuleType) -> None:
    uuid = store(node, postgres, image()[1])
    fault = rows.Tombstone({"database": "pacs"})
    plan = fault.plan()
    with postgres.connect() as connection:
        connection.execute(
            "update hapacs.object set tombstoned_at = now(), tombstoned_by = 'pacs1' where uuid = %s", [uuid]
        )
    fault.apply(plan)
    fault.undo(plan)
    assert tombstoned(postgres, uuid)
