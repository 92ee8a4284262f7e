"""The instances of a study, listed from index and catalog on a real PostgreSQL."""

from uuid import UUID

import pytest

from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.retrieval import Instance, Named
from hapacs_node.catalog.selection import Selection
from hapacs_node.errors import CatalogError, RefusedError
from hapacs_node.retrieve.places import REMEMBERED_S, Places
from tests.storage.conftest import row
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


def test_studies_series_and_instances_are_selected_from_the_index(catalog: Catalog, study: str) -> None:
    def sops(**wanted: tuple[str, ...]) -> list[str]:
        return [one.sop.removeprefix(study) for one in catalog.select(Selection(**wanted))]

    assert sops(studies=(study, "9.9")) == [".1.3", ".1.4", ".2.5"]
    assert sops(series=(f"{study}.2", "9.9")) == [".2.5"]
    assert sops(instances=(f"{study}.2.5", f"{study}.1.3", "9.9")) == [".1.3", ".2.5"]
    assert sops(studies=(study,), instances=(f"{study}.1.4", "9.9")) == [".1.4"]
    assert sops(studies=(study,), series=(f"{study}.1",), instances=(f"{study}.2.5",)) == []
    assert sops(studies=(f"{study}.1",)) == []
    (one,) = catalog.select(Selection(instances=(f"{study}.1.4",)))
    assert one.object == catalog.retrieve(Named(study, f"{study}.1", f"{study}.1.4"))[0].object
    assert (one.study, one.series, one.transfer_syntax) == (study, f"{study}.1", "1.2.840.10008.1.2.1")


def test_an_instance_that_can_not_be_read_is_selected_without_its_bytes(
    catalog: Catalog, study: str, postgres: Postgres
) -> None:
    first = catalog.retrieve(Named(study))[0].object
    with postgres.connect() as connection:
        connection.execute("delete from hapacs.object where uuid = %s", [first.uuid])
    assert [one.object is None for one in catalog.select(Selection(studies=(study,)))] == [True, False, False]


def test_an_image_under_two_patients_is_selected_once_as_it_was_stored_last(
    catalog: Catalog, study: str, postgres: Postgres
) -> None:
    number = int(study.rpartition(".")[2])
    catalog.add(row(UUID(int=number + 9)))
    with postgres.connect() as connection:
        for place, level, parent, tag, value in (
            (6, 1, None, (32, 13), study),
            (7, 2, number + 6, (32, 14), f"{study}.1"),
            (9, 3, number + 7, (8, 24), f"{study}.1.4"),
        ):
            connection.execute(
                "insert into resources values (%s, %s, %s, %s)", [number + place, level, f"r{number + place}", parent]
            )
            connection.execute("insert into dicomidentifiers values (%s, %s, %s, %s)", [number + place, *tag, value])
        connection.execute(
            "insert into attachedfiles values (%s, 1, %s, 12, 12, 1, '', '')", [number + 9, str(UUID(int=number + 9))]
        )
    selected = {one.sop.removeprefix(study): one.object for one in catalog.select(Selection(studies=(study,)))}
    assert list(selected) == [".1.3", ".1.4", ".2.5"]
    assert selected[".1.4"] is not None
    assert selected[".1.4"].uuid == UUID(int=number + 9)
    # So is a whole study by WADO-RS, and its metadata.
    assert sorted(places(catalog.retrieve(Named(study)), study)) == [3, 5, 9]


def test_a_hidden_series_is_not_found_any_more_after_the_limit(
    catalog: Catalog, study: str, postgres: Postgres
) -> None:
    now = [0.0]
    places = Places(catalog, clock=lambda: now[0])
    named = [Named(study, f"{study}.1", f"{study}.1.{number}") for number in (3, 4)]
    found = {one: places.of(one) for one in named}
    # The first one was asked for alone, the second one with its series.
    assert found == {one: places.now(one) for one in named}
    assert places.of(named[0]) == found[named[0]]
    with postgres.connect() as connection:
        connection.execute(
            "insert into hapacs.correction (kind, study, series, who, why) values ('hide', %s, %s, 'anna', 'test')",
            [study, f"{study}.1"],
        )
    now[0] += REMEMBERED_S
    for one in named:
        with pytest.raises(RefusedError):
            places.of(one)
