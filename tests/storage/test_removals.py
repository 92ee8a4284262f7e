"""Removed images and their studies on a real PostgreSQL, and a restoration with a real archive."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from pydicom.uid import ExplicitVRLittleEndian

from hapacs_node.catalog import schema
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.index import Present
from hapacs_node.catalog.removals import Removal
from hapacs_node.catalog.retrieval import Named
from hapacs_node.node import Node
from hapacs_node.restore import Restoration
from hapacs_node.storage import names
from tests.storage.conftest import DIGEST, row
from tests.storage.servers import Postgres
from tests.unit.node.test_identity import image

OTHER = "cd" * 32


def removed(catalog: Catalog, study: str, sop: str, digest: str = DIGEST, reason: str = "removed") -> UUID:
    uuid = uuid4()
    catalog.add(row(uuid, digest, "title:CT1"))
    catalog.tombstone(uuid, "pacs1", Removal(reason, "user:anna", study, f"{study}.1", sop))  # type: ignore[arg-type]
    return uuid


def test_a_deleted_study_is_listed_with_time_callers_and_nodes(catalog: Catalog) -> None:
    study, before = f"1.3.{uuid4().int}", datetime.now(UTC)
    removed(catalog, study, f"{study}.1.1")
    removed(catalog, study, f"{study}.1.1", OTHER)
    removed(catalog, study, f"{study}.1.2", reason="replaced")
    (found,) = (one for one in catalog.deleted_studies(before, 100) if one.study == study)
    assert (found.images, found.missing, found.callers, found.nodes) == (1, 1, ("user:anna",), ("pacs1",))
    assert before <= found.first_at < found.last_at
    after = found.last_at + timedelta(microseconds=1)
    assert study not in {one.study for one in catalog.deleted_studies(after, 100)}
    assert study in {one.study for one in catalog.deleted_studies(None, 10_000)}


def test_of_several_versions_the_last_removed_one_is_found(catalog: Catalog) -> None:
    study = f"1.3.{uuid4().int}"
    sop = f"{study}.1.1"
    removed(catalog, study, sop, reason="replaced")
    last = removed(catalog, study, sop, OTHER)
    removed(catalog, study, sop, reason="refused")
    assert {key: found.uuid for key, found in catalog.removed(study).items()} == {(f"{study}.1", sop): last}
    assert catalog.removed(f"{study}.9") == {}


def test_the_index_says_which_images_are_present_and_for_whom(catalog: Catalog, study: str, postgres: Postgres) -> None:
    series, sop = f"{study}.1", f"{study}.1.4"
    assert catalog.stored(study) == {
        (series, f"{series}.3"): DIGEST, (series, sop): DIGEST, (f"{study}.2", f"{study}.2.5"): DIGEST,
    }  # fmt: skip
    assert catalog.present(study, series, sop) == [Present(DIGEST, None)]
    assert catalog.present(study, f"{study}.2", sop) == []
    assert catalog.present("1.2", series, sop) == []
    with postgres.connect() as connection:
        number = int(study.rpartition(".")[2]) + 4
        connection.execute("insert into metadata values (%s, 3, 'CT7', 0)", [number])
    assert catalog.present(study, series, sop) == [Present(DIGEST, "title:CT7")]
    with postgres.connect() as connection:
        connection.execute("update hapacs.object set caller = 'user:anna' where uuid = %s", [UUID(int=number)])
    assert catalog.present(study, series, sop) == [Present(DIGEST, "user:anna")]


def test_an_image_that_is_in_the_index_is_not_missing(catalog: Catalog, study: str) -> None:
    removed(catalog, study, f"{study}.1.4")
    removed(catalog, study, f"{study}.1.9")
    (found,) = (one for one in catalog.deleted_studies(None, 10_000) if one.study == study)
    assert (found.images, found.missing) == (2, 1)


def test_the_study_of_an_older_tombstone_is_read_from_its_bytes_and_restored(
    node: Node, catalog: Catalog, postgres: Postgres
) -> None:
    content = image(ExplicitVRLittleEndian, undefined=False) + uuid4().bytes
    uuid, digest = uuid4(), names.digest_of(content)
    stored = node.storage.create(str(uuid), 1, content, "title:CT1")
    with postgres.connect() as connection:
        connection.execute(
            "update hapacs.object set tombstoned_at = now(), tombstoned_by = 'pacs1' where uuid = %s", [uuid]
        )
    assert stored is not None
    assert uuid in {found.uuid for found in catalog.removed_without_study(10_000)}
    sent: list[bytes] = []
    restored = Restoration(catalog, node.storage.reader, sent.append).study("1", "anna")
    assert {(one.series, one.sop, one.state) for one in restored} == {("1.2", "1.2.3", "restored")}
    assert sent == [content]
    assert uuid not in {found.uuid for found in catalog.removed_without_study(10_000)}
    assert catalog.removed("1")["1.2", "1.2.3"].digest == digest


def test_a_restored_image_has_its_first_caller(catalog: Catalog, study: str) -> None:
    catalog.inherit_caller(DIGEST, "title:CT1")
    assert {one.object.caller for one in catalog.retrieve(Named(study))} == {"title:CT1"}


def test_a_catalog_of_the_version_before_comes_to_this_one_with_its_tombstones(
    node: Node, catalog: Catalog, postgres: Postgres
) -> None:
    uuid = uuid4()
    catalog.add(row(uuid))
    with postgres.connect() as connection:
        later = ["ruleset", "event", "task", "destination", "intervention", "unmatched", "gathering", "completion"]
        connection.execute(f"drop table {', '.join(f'hapacs.{name}' for name in later)}")
        connection.execute("drop function hapacs.discard cascade")
        connection.execute("drop table hapacs.removal")
        connection.execute("drop index hapacs.object_tombstoned")
        connection.execute("alter table hapacs.object drop column caller")
        connection.execute("update hapacs.schema_version set version_num = '0001'")
        connection.execute(
            "update hapacs.object set tombstoned_at = now(), tombstoned_by = 'pacs1' where uuid = %s", [uuid]
        )
    assert schema.migrate(node.database) == ("0001", schema.expected())
    assert uuid in {found.uuid for found in catalog.removed_without_study(10_000)}
    with postgres.connect() as connection:
        valid = connection.execute(
            "select indisvalid from pg_index where indexrelid = 'hapacs.object_tombstoned'::regclass"
        ).fetchone()
        # The statement of the version before still works, as on a node that is not updated yet.
        connection.execute(
            'insert into hapacs.object (uuid, digest, size, type, store, key, "offset", length, node) '
            'select gen_random_uuid(), digest, size, type, store, key, "offset", length, node from hapacs.object '
            "where uuid = %s",
            [uuid],
        )
    assert valid == (True,)
