"""A full archive, and a database without free connections: stores are refused, nothing is lost, and storing resumes."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from hapacs_node.errors import CasUnavailableError, CatalogUnavailableError
from hapacs_node.node import Node
from hapacs_node.storage import names
from tests.storage.conftest import archive
from tests.storage.servers import Postgres, SeaweedFS, wait_until

DICOM = 1
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SeaweedFS]:
    """An archive of about 20 MB."""
    with archive(tmp_path, volumes=3, volume_mb=8) as server:
        yield server


def test_a_full_archive_refuses_stores_and_still_answers_reads(
    make_node: Callable[..., Node], small: SeaweedFS, postgres: Postgres
) -> None:
    node = make_node(cas={"gateways": small.urls, "attempt_timeout_s": 2, "deadline_s": 3, "connect_timeout_s": 1})
    kept: dict[UUID, str] = {}
    refused: list[UUID] = []
    for _ in range(60):
        content, uuid = os.urandom(1_000_000), uuid4()
        try:
            node.storage.create(str(uuid), DICOM, content)
        except CasUnavailableError:
            refused.append(uuid)
            if len(refused) == 3:
                break
        else:
            kept[uuid] = names.digest_of(content)
    assert kept
    assert len(refused) == 3, "the archive is not full"
    with postgres.connect() as connection:
        rows = connection.execute("select uuid from hapacs.object where uuid = any(%s)", [[*kept, *refused]])
        assert {row[0] for row in rows} == set(kept)
    for uuid, digest in kept.items():
        node.settings.das.root.joinpath(*names.das_path(digest)).unlink()
        assert names.digest_of(node.storage.read(str(uuid), DICOM)) == digest


def use_up(postgres: Postgres, stack: ExitStack) -> None:
    """Open all connections that the server accepts."""
    for _ in range(200):
        try:
            stack.enter_context(postgres.connect())
        except psycopg.OperationalError:
            return
    pytest.fail("the server gives more connections than it is configured to")


def test_without_a_free_database_connection_stores_fail_at_the_deadline_and_resume(
    make_node: Callable[..., Node], postgres: Postgres
) -> None:
    limits = {"statement_timeout_s": 1, "deadline_s": 2, "connect_timeout_s": 2}
    node = make_node(database=limits)
    node.database.close()
    content, uuid = os.urandom(1000), uuid4()
    with ExitStack() as stack:
        use_up(postgres, stack)
        began = time.monotonic()
        with pytest.raises(CatalogUnavailableError):
            node.storage.create(str(uuid), DICOM, content)
        assert time.monotonic() - began < 10
        node.health.refresh("database")
        assert not node.health.report()["ok"]

    def stored() -> bool:
        try:
            node.storage.create(str(uuid), DICOM, content)
        except CatalogUnavailableError:
            return False
        return True

    wait_until(stored, "storing to go on", 30)
    found = node.storage.catalog.find(uuid)
    assert found is not None
    assert node.storage.read(str(uuid), DICOM) == content
