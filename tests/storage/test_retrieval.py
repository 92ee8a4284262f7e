"""The instances of a study, listed from index and catalog on a real PostgreSQL."""

import pytest

from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.retrieval import Instance, Named
from hapacs_node.errors import CatalogError
from tests.storage.servers import Postgres


def places(instances: list[Instance], study: str) -> list[int]:
    return [instance.object.uuid.int - int(study.rpartition(".")[2]) for instance in instances]


def test_a_study_a_series_and_an_instance_are_listed_from_the_index(catalog: Catalog, study: str) -> None:
    whole = catalog.retrieve(Named(study))
    assert places(whole, study) == [3, 4, 5]
    assert whole[0].object == catalog.find(whole[0].object.uuid)
    assert {instance.transfer_syntax for instance in whole} == {"1.2.840.10008.1.2.1"}
    assert places(catalog.retrieve(Named(study, f"{study}.1")), study) == [3, 4]
    assert places(catalog.retrieve(Named(study, f"{study}.1", f"{study}.1.4")), study) == [4]


def test_a_uid_below_another_parent_is_not_found(catalog: Catalog, study: str) -> None:
    assert catalog.retrieve(Named(f"{study}.9")) == []
    assert catalog.retrieve(Named(study, f"{study}.9")) == []
    assert catalog.retrieve(Named(study, f"{study}.1", f"{study}.2.5")) == []
    # A UID of one level is not one of another.
    assert catalog.retrieve(Named(f"{study}.1")) == []


def test_a_study_with_an_unreadable_file_is_refused(catalog: Catalog, study: str, postgres: Postgres) -> None:
    one = catalog.retrieve(Named(study))[0].object
    with postgres.connect() as connection:
        connection.execute("update attachedfiles set compressiontype = 2 where uuid = %s", [str(one.uuid)])
    with pytest.raises(CatalogError, match="compressed by Orthanc"):
        catalog.retrieve(Named(study))
    with postgres.connect() as connection:
        connection.execute("update attachedfiles set compressiontype = 1 where uuid = %s", [str(one.uuid)])
        connection.execute("delete from hapacs.object where uuid = %s", [one.uuid])
    with pytest.raises(CatalogError, match="not in the catalog"):
        catalog.retrieve(Named(study))
    assert places(catalog.retrieve(Named(study, f"{study}.2")), study) == [5]


def test_a_file_with_an_unknown_transfer_syntax_is_listed(catalog: Catalog, study: str, postgres: Postgres) -> None:
    with postgres.connect() as connection:
        connection.execute("delete from metadata where id = %s", [int(study.rpartition(".")[2]) + 5])
    assert [instance.transfer_syntax for instance in catalog.retrieve(Named(study, f"{study}.2"))] == [""]
