import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from hapacs_node import settings
from hapacs_node.catalog import schema
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.metrics import Metrics
from hapacs_node.node import Node
from hapacs_node.routing.peer import Access
from hapacs_node.routing.service import Service
from hapacs_node.settings import Settings
from tests.storage import index
from tests.storage.routed import TABLES
from tests.storage.servers import ACCESS_KEY, BUCKET, PASSWORD, SECRET_KEY, Postgres, SeaweedFS, postgres_programs
from tests.support.second_site import SecondSite, second_site

# The part of Orthanc's tables that is read (orthanc-postgresql 5.0); the lab has the real ones.
INDEX = """
create table resources (internalid bigint primary key, resourcetype int not null, publicid varchar(64) not null,
    parentid bigint);
create table dicomidentifiers (id bigint, taggroup int, tagelement int, value text);
create table metadata (id bigint, type int, value text, revision int);
create table attachedfiles (id bigint, filetype int, uuid varchar(64) not null, compressedsize bigint,
    uncompressedsize bigint, compressiontype int, uncompressedhash varchar(40), compressedhash varchar(40));
"""

DIGEST = "ab" * 32


def row(uuid: UUID, digest: str = DIGEST, caller: str | None = None) -> StoredObject:
    return StoredObject(uuid, digest, 12, 1, "cas", f"sha256/{digest}", 0, 12, "pacs1", caller=caller)


@pytest.fixture(autouse=True)
def few_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make few folders at the start of a node: removing all 65,536 takes minutes."""
    monkeypatch.setattr("hapacs_node.storage.das._SPREAD", ["00"])


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    """A directory that the user of PostgreSQL may enter."""
    path = Path(tempfile.mkdtemp(prefix="hapacs-storage-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def _programs() -> None:
    if postgres_programs() is None:
        pytest.skip("PostgreSQL's programs are not installed: `apt-get install postgresql`")


@pytest.fixture(scope="session")
def _postgres(directory: Path, _programs: None) -> Iterator[Postgres]:
    server = Postgres(directory)
    try:
        server.start()
        with server.connect() as connection:
            connection.execute(INDEX)
        yield server
    finally:
        server.kill()


def make_bucket(server: SeaweedFS) -> None:
    """Create the bucket with Object Lock."""
    s3 = server.client(key="admin", secret="admin-secret-of-the-test")
    s3.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    s3.put_object_lock_configuration(
        Bucket=BUCKET, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    # The first object waits until the volumes of the bucket are made. The store of a test would take another key.
    s3.put_object(Bucket=BUCKET, Key="first", Body=b"first")


@contextmanager
def archive(directory: Path, **limits: int) -> Iterator[SeaweedFS]:
    """Run an archive with its bucket."""
    server = SeaweedFS(directory, **limits)
    try:
        server.start()
        make_bucket(server)
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def _seaweedfs(directory: Path) -> Iterator[SeaweedFS]:
    with archive(directory) as server:
        yield server


@pytest.fixture
def postgres(_postgres: Postgres) -> Iterator[Postgres]:
    """The server; it is restarted after a test that killed it."""
    yield _postgres
    _postgres.resume()


@pytest.fixture
def seaweedfs(_seaweedfs: SeaweedFS) -> Iterator[SeaweedFS]:
    """The servers; they are restarted after a test that killed them."""
    yield _seaweedfs
    _seaweedfs.resume()


@pytest.fixture
def configure(tmp_path: Path, postgres: Postgres, seaweedfs: SeaweedFS) -> Callable[..., Settings]:
    """Write a node's configuration; keyword arguments replace parts of a section."""

    def write(**changes: dict[str, object]) -> Settings:
        (tmp_path / "das").mkdir(exist_ok=True)
        (tmp_path / "password").write_text(PASSWORD)
        (tmp_path / "cas.json").write_text(json.dumps({"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}))
        database = {"hosts": ["127.0.0.1"], "port": postgres.port, "password_file": str(tmp_path / "password")}
        das = {"root": str(tmp_path / "das"), "minimum_free_bytes": 0, "must_be_mount": False}
        cas = {"gateways": seaweedfs.urls, "bucket": BUCKET, "credentials_file": str(tmp_path / "cas.json")}
        document = {
            "node": "pacs1",
            "site": "main",
            "database": database | changes.get("database", {}),
            "das": das | changes.get("das", {}),
            "cas": cas | changes.get("cas", {}),
        }
        (tmp_path / "node.json").write_text(json.dumps(document))
        return settings.load(tmp_path / "node.json")

    return write


@pytest.fixture
def make_node(configure: Callable[..., Settings]) -> Iterator[Callable[..., Node]]:
    """Build nodes with a migrated catalog; close them afterwards."""
    nodes: list[Node] = []

    def build(**changes: dict[str, object]) -> Node:
        node = Node.build(configure(**changes), "store")
        nodes.append(node)
        schema.migrate(node.database)
        return node

    yield build
    for node in nodes:
        node.close()


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    return make_node()


@pytest.fixture
def catalog(node: Node) -> Catalog:
    return node.storage.catalog


@pytest.fixture
def active_rules(make_node: Callable[..., Node], postgres: Postgres) -> Iterator[None]:
    """A rule set in the database, so that stored images have events."""
    make_node()
    with postgres.connect() as connection:
        connection.execute(
            "insert into hapacs.ruleset (version, document, active, loaded_by) values (1, '{}', true, 'test') "
            "on conflict (single) do update set active = true"
        )
    yield
    postgres.resume()
    with postgres.connect() as connection:
        connection.execute("truncate hapacs.ruleset, hapacs.event")


@pytest.fixture
def study(catalog: Catalog, postgres: Postgres) -> str:
    """A study of two series, with two instances and one, in the index and the catalog."""
    number = uuid4().int % 10**9
    uid = f"1.2.{number}"
    with postgres.connect() as connection:

        def resource(place: int, level: int, parent: int | None, tag: tuple[int, int], value: str) -> int:
            connection.execute(
                "insert into resources values (%s, %s, %s, %s)", [number + place, level, f"r{number + place}", parent]
            )
            connection.execute("insert into dicomidentifiers values (%s, %s, %s, %s)", [number + place, *tag, value])
            return number + place

        top = resource(0, 1, None, (32, 13), uid)
        for series, instances in ((1, (3, 4)), (2, (5,))):
            middle = resource(series, 2, top, (32, 14), f"{uid}.{series}")
            for instance in instances:
                low = resource(instance, 3, middle, (8, 24), f"{uid}.{series}.{instance}")
                file = UUID(int=low)
                for kind, name in ((1, file), (3, uuid4())):
                    connection.execute(
                        "insert into attachedfiles values (%s, %s, %s, 12, 12, 1, '', '')", [low, kind, str(name)]
                    )
                connection.execute("insert into metadata values (%s, 9, '1.2.840.10008.1.2.1', 0)", [low])
                connection.execute("insert into metadata values (%s, 4, 'other', 0)", [low])
                catalog.add(row(file))
    return uid


@pytest.fixture
def server(postgres: Postgres, configure: Callable[..., Settings]) -> Iterator[index.Server]:
    """Orthanc's tables with one instance, and its row in the catalog."""
    with postgres.connect() as connection:
        connection.execute(f"drop database if exists {index.NAME}")
        connection.execute(f"create database {index.NAME}")
    with Database(configure(database={"name": index.NAME}).database, Metrics()) as database:
        schema.migrate(database)
    names = {"dicom": str(uuid4()), "derived": str(uuid4())}
    with postgres.connect(index.NAME) as connection:
        connection.execute(index.INDEX.format(**names))
        connection.execute(index.CATALOGUED.format(**names))
        yield index.Server(connection)


@pytest.fixture
def site(make_node: Callable[..., Node], postgres: Postgres) -> Iterator[Node]:
    """A storing node with an empty outbox."""
    node = make_node()
    with postgres.connect() as connection:
        connection.execute(f"truncate {TABLES}")
    yield node
    with postgres.connect() as connection:
        connection.execute(f"truncate {TABLES}")


@pytest.fixture
def services(site: Node) -> Iterator[Callable[..., Service]]:
    """Return a function that builds services of this node; they are closed afterwards."""
    made: list[Service] = []

    def build(access: Access | None = None, copying: Access | None = None) -> Service:
        service = Service.build(site.settings, access or Access(), copying)
        made.append(service)
        return service

    yield build
    for service in made:
        service.close()


@pytest.fixture
def second(tmp_path: Path) -> Iterator[SecondSite]:
    """The site that gets copies."""
    with second_site(tmp_path) as made:
        yield made


@pytest.fixture
def service(services: Callable[..., Service], second: SecondSite) -> Service:
    """A service that copies to it, and sends by rules."""
    return services(None, second.access)
