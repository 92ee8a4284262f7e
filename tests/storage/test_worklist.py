"""Entries of the worklist on a real PostgreSQL."""

import json
from datetime import timedelta

import pytest

from hapacs_node.catalog.catalog import Catalog
from hapacs_node.worklist.entry import Entry
from tests.storage.servers import Postgres
from tests.support.scheduled import document

WEEK = timedelta(days=7)


def entry(day: str, number: int) -> Entry:
    made = document({"ScheduledProcedureStepStartDate": day}, StudyInstanceUID=f"1.2.{number}")
    return Entry.of(json.dumps(made).encode())


@pytest.fixture(autouse=True)
def empty(catalog: Catalog, postgres: Postgres) -> None:
    del catalog
    with postgres.connect() as connection:
        connection.execute("delete from hapacs.worklist")


def test_entries_are_kept_by_name_in_the_order_of_their_days(catalog: Catalog) -> None:
    later, sooner = entry("20990102", 1), entry("20990101", 2)
    assert [catalog.keep_entry(one, WEEK, "ris", 9) for one in (later, sooner, later)] == [True, True, False]
    assert catalog.entries() == [sooner.document, later.document]
    assert catalog.entry(later.name) == later.document
    assert [catalog.delete_entry(later.name) for _ in range(2)] == [True, False]
    assert (catalog.entry(later.name), catalog.entries()) == (None, [sooner.document])


def test_an_entry_ends_some_days_after_its_own_and_is_then_forgotten(catalog: Catalog, postgres: Postgres) -> None:
    past, coming = entry("20200101", 1), entry("20990101", 2)
    assert catalog.keep_entry(past, WEEK, "ris", 9)
    assert (catalog.entries(), catalog.entry(past.name)) == ([], None)
    assert catalog.keep_entry(coming, WEEK, "ris", 9)
    with postgres.connect() as connection:
        rows = connection.execute("select name, expires_at::date - starts, changed_by from hapacs.worklist").fetchall()
    assert rows == [(coming.name, 8, "ris")]


def test_there_are_no_more_entries_than_the_limit(catalog: Catalog) -> None:
    assert [catalog.keep_entry(entry("20990101", number), WEEK, "ris", 2) for number in range(3)] == [True, True, None]
    assert catalog.keep_entry(entry("20990102", 0), WEEK, "ris", 2) is False
    assert len(catalog.entries()) == 2
