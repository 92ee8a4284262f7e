"""The query tables of a site that an older program has filled, on a real PostgreSQL with Orthanc's tables."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from pydicom.uid import generate_uid

from hapacs_node.catalog import schema
from hapacs_node.node import Node
from hapacs_node.query.attributes import Level
from hapacs_node.query.criteria import Search, criterion
from hapacs_node.query.refresh import Renewed
from tests.storage import index
from tests.support.images import ct

NAME = "Иванов^Пётр"
STUDY = generate_uid()


@pytest.fixture
def old(make_node: Callable[..., Node], server: index.Server) -> Node:
    """A node whose only image has no row in the query tables; the index lost its name."""
    node = make_node(database={"name": index.NAME})
    schema.index_attachments(node.database)
    content = ct(StudyInstanceUID=STUDY, SpecificCharacterSet="ISO_IR 144", PatientName=NAME, StationName="CT7")
    name = str(uuid4())
    node.storage.create(name, 1, content)
    connection = server.connection
    connection.execute("delete from hapacs.instance")
    connection.execute("delete from hapacs.study")
    connection.execute("delete from hapacs.study_name")
    connection.execute("update attachedfiles set uuid = %s where filetype = 1", [name])
    connection.execute("insert into maindicomtags values (2, 16, 16, '^')")
    connection.commit()
    return node


def find(node: Node, tag: int, text: str) -> list[str]:
    wanted = criterion((tag,), text)
    assert wanted is not None
    return [one.study for one in node.storage.catalog.search(Search(Level.STUDY, (wanted,)))]


def test_images_of_an_older_program_are_found_at_once_and_right_after_a_renewal(old: Node) -> None:
    assert find(old, 0x0020000D, "1.2.1") == []
    assert old.refresh.complete()[0] == 1
    assert old.refresh.complete()[0] == 0
    assert find(old, 0x0020000D, "1.2.1") == ["1.2.1"]
    assert find(old, 0x00100020, "PATTERN") == ["1.2.1"]
    counts: list[int] = []
    assert old.refresh.renew(counts.append, lambda _: None) == Renewed(1, 0)
    assert counts == [1]
    assert find(old, 0x00100010, NAME) == [STUDY]
    assert find(old, 0x00081010, "CT7") == [STUDY]
    assert old.refresh.renew(counts.append, lambda _: None) == Renewed(0, 0)


def test_another_character_set_of_undeclared_files_is_a_reason_to_read_again(old: Node) -> None:
    old.refresh.complete()
    old.refresh.renew(lambda _: None, lambda _: None)
    old.refresh.undeclared = "ISO_IR 192"
    assert old.refresh.renew(lambda _: None, lambda _: None) == Renewed(1, 0)


def test_an_image_that_no_place_returns_is_counted_and_tried_again(old: Node, server: index.Server) -> None:
    old.refresh.complete()
    server.connection.execute("update hapacs.object set digest = sha256('gone'), key = 'sha256/gone' where type = 1")
    server.connection.commit()
    assert old.refresh.renew(lambda _: None, lambda _: None) == Renewed(0, 1)
    assert old.refresh.renew(lambda _: None, lambda _: None) == Renewed(0, 1)
