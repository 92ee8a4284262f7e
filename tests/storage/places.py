"""Images in index, catalog, DAS and archive, stored as Orthanc does it, and an archive that forgets one."""

import os
from uuid import UUID, uuid4

from hapacs_node.catalog.objects import StoredObject
from hapacs_node.node import Node
from tests.storage.conftest import INDEX
from tests.storage.servers import BUCKET, Postgres, SeaweedFS

NAME = "places"
"""A database of its own, in which nothing is wrong."""


def make_index(postgres: Postgres) -> None:
    """Create the database with empty tables of Orthanc."""
    with postgres.connect() as connection:
        connection.execute(f"drop database if exists {NAME} with (force)")
        connection.execute(f"create database {NAME}")
    with postgres.connect(NAME) as connection:
        connection.execute(INDEX)


def store(node: Node, postgres: Postgres, content: bytes | None = None, *, indexed: bool = True) -> StoredObject:
    """Store an image, as Orthanc does."""
    uuid, content = uuid4(), content or os.urandom(2000)
    stored = node.storage.create(str(uuid), 1, content)
    assert stored is not None
    if indexed:
        index(postgres, uuid, len(content))
    return stored


def index(postgres: Postgres, uuid: UUID, size: int) -> None:
    with postgres.connect(NAME) as connection:
        number = uuid.int % 10**15
        connection.execute("insert into resources values (%s, 3, %s, null)", [number, str(uuid)])
        connection.execute(
            "insert into attachedfiles values (%s, 1, %s, %s, %s, 1, '', '')", [number, str(uuid), size, size]
        )
        # Derived attachments are not in the catalog.
        connection.execute("insert into attachedfiles values (%s, 3, %s, 9, 9, 1, '', '')", [number, str(uuid4())])


def lose(seaweedfs: SeaweedFS, key: str) -> None:
    """Let the archive forget an object, as only its administrator can."""
    s3 = seaweedfs.client(0, "admin", "admin-secret-of-the-test")
    for version in s3.list_object_versions(Bucket=BUCKET, Prefix=key)["Versions"]:
        s3.delete_object(Bucket=BUCKET, Key=key, VersionId=version["VersionId"], BypassGovernanceRetention=True)
