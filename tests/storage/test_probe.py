"""What the probe leaves in the catalog: no event for routing, and no row for each time it stored the same image."""

from uuid import UUID, uuid4

from hapacs_node.catalog import removals
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.removals import Removal
from hapacs_node.probe.names import CALLERS, TITLE
from tests.storage.conftest import row
from tests.storage.servers import Postgres


def resent(catalog: Catalog, study: str, digest: str, reason: str = "resent") -> UUID:
    uuid = uuid4()
    catalog.add(row(uuid, digest, f"title:{TITLE}"))
    removal = Removal(reason, f"title:{TITLE}", study, f"{study}.1", f"{study}.1.1")  # type: ignore[arg-type]
    catalog.tombstone(uuid, "pacs1", removal)
    return uuid


def forget(catalog: Catalog, study: str, kept_s: float = 0, limit: int = 100) -> int:
    return catalog.database.run(lambda c: removals.forget_resent(c, study, kept_s, limit))


def known(postgres: Postgres, uuids: list[UUID]) -> set[UUID]:
    with postgres.connect() as connection:
        found = connection.execute("select uuid from hapacs.object where uuid = any(%s)", [uuids])
        return {UUID(str(one[0])) for one in found}


def test_rows_of_an_image_that_was_stored_again_go(catalog: Catalog, postgres: Postgres) -> None:
    study, digest = f"1.3.{uuid4().int}", uuid4().hex * 2
    live = uuid4()
    catalog.add(row(live, digest, f"title:{TITLE}"))
    former = [resent(catalog, study, digest) for _ in range(5)]
    assert forget(catalog, study, limit=3) == 3
    assert forget(catalog, study, limit=3) == 2
    assert forget(catalog, study, limit=3) == 0
    assert known(postgres, [live, *former]) == {live}


def test_a_row_stays_while_anything_needs_it(catalog: Catalog, postgres: Postgres) -> None:
    study, digest = f"1.3.{uuid4().int}", uuid4().hex * 2
    # Nothing in use has these bytes, so the row is the only one that names them.
    last = resent(catalog, study, digest)
    assert forget(catalog, study) == 0
    live = uuid4()
    catalog.add(row(live, digest, f"title:{TITLE}"))
    other_study = resent(catalog, f"{study}.9", digest)
    replaced = resent(catalog, study, digest, reason="replaced")
    with postgres.connect() as connection:
        connection.execute("insert into hapacs.event (uuid, node) values (%s, 'pacs1')", [last])
    assert forget(catalog, study) == 0
    with postgres.connect() as connection:
        connection.execute("delete from hapacs.event where uuid = %s", [last])
    assert forget(catalog, study, kept_s=3600) == 0, "a row that was replaced just now stays"
    assert forget(catalog, study) == 1
    assert known(postgres, [last, live, other_study, replaced]) == {live, other_study, replaced}


def test_routing_does_not_see_the_probe(catalog: Catalog, postgres: Postgres) -> None:
    with postgres.connect() as connection:
        connection.execute(
            "insert into hapacs.ruleset (version, document, active, loaded_by) values (1, '{}', true, 'test') "
            "on conflict (single) do update set active = true"
        )
    try:
        theirs: list[UUID] = []
        others: list[UUID] = []
        for caller in [*sorted(CALLERS), "title:CT1", None]:
            uuid = uuid4()
            catalog.add(row(uuid, uuid4().hex * 2, caller))
            (theirs if caller in CALLERS else others).append(uuid)
        with postgres.connect() as connection:
            found = connection.execute("select uuid from hapacs.event where uuid = any(%s)", [[*theirs, *others]])
            assert {uuid for (uuid,) in found} == set(others)
    finally:
        with postgres.connect() as connection:
            connection.execute("delete from hapacs.event")
            connection.execute("delete from hapacs.ruleset")
