import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hapacs.pki import Authority
from hapacs_node.https import Listener
from hapacs_node.metrics import Metrics
from hapacs_node.settings import Das as DasSettings
from hapacs_node.storage.area import StorageArea, Workers
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.client import Client
from hapacs_node.storage.das import Das
from hapacs_node.storage.gateways import Gateway, Gateways
from tests.unit.node.certificates import certificate
from tests.unit.node.fakes import FakeBucket, FakeCatalog, FakeClient


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "das"
    path.mkdir()
    return path


@pytest.fixture
def das(root: Path, metrics: Metrics) -> Das:
    return Das(DasSettings(root=root, minimum_free_bytes=0, must_be_mount=False), metrics)


@pytest.fixture
def bucket() -> FakeBucket:
    return FakeBucket()


@pytest.fixture
def clients(bucket: FakeBucket) -> list[FakeClient]:
    """Two gateways to one bucket."""
    return [FakeClient(bucket), FakeClient(bucket)]


@pytest.fixture
def cas(clients: list[FakeClient], metrics: Metrics) -> Cas:
    members: list[Gateway[Client]] = [
        Gateway(f"https://gateway{number}:8333", client) for number, client in enumerate(clients)
    ]
    return Cas(Gateways(members, metrics, sleep=lambda _: None), 2.0, metrics)


@pytest.fixture
def catalog() -> FakeCatalog:
    return FakeCatalog()


@pytest.fixture
def workers() -> Iterator[Workers]:
    with (
        ThreadPoolExecutor(4) as archivers,
        ThreadPoolExecutor(2) as packers,
        ThreadPoolExecutor(1) as noters,
        ThreadPoolExecutor(2) as fetchers,
    ):
        yield Workers(archivers, packers, noters, fetchers)


@pytest.fixture
def area(das: Das, cas: Cas, catalog: FakeCatalog, workers: Workers, metrics: Metrics) -> StorageArea:
    return StorageArea("pacs1", das, cas, catalog, workers, metrics)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("pki"), "pacs", "passphrase")
    made.ensure()
    return made


@pytest.fixture(scope="session")
def listener(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Listener:
    directory = tmp_path_factory.mktemp("listener")
    return Listener("127.0.0.1", 0, *certificate(authority, directory, "pacs1", "server"), authority.certificate_file)


@pytest.fixture(scope="session")
def tls(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.certificate_file))
    context.load_cert_chain(*certificate(authority, tmp_path_factory.mktemp("balancer"), "balancer", "client"))
    return context
