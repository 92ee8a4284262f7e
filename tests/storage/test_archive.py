"""The archive on a real SeaweedFS with Object Lock, through two gateways."""

import io
import os
import socket
import tarfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from botocore.exceptions import ClientError

from hapacs_node.errors import CasConflictError, CasMissingError, CasUnavailableError
from hapacs_node.node import Node
from hapacs_node.storage import names
from tests.storage.servers import BUCKET, SeaweedFS

SHORT = {"connect_timeout_s": 1, "attempt_timeout_s": 1, "deadline_s": 3}


def fresh(size: int = 200_000) -> tuple[str, bytes]:
    content = os.urandom(size)
    return names.digest_of(content), content


def test_an_object_is_stored_checked_and_locked(node: Node) -> None:
    digest, content = fresh()
    key = node.cas.put(digest, content)
    assert node.cas.get(key, digest, 0, len(content)) == content
    recorded = node.cas.head(key)
    assert (recorded.size, recorded.digest) == (len(content), digest)
    lock = node.cas.lock(key)
    assert lock.mode == "GOVERNANCE"
    assert lock.until is not None
    assert datetime.fromisoformat(lock.until) > datetime.now(UTC) + timedelta(hours=23)


def test_the_nodes_identity_can_not_delete_an_object(node: Node, seaweedfs: SeaweedFS) -> None:
    digest, content = fresh()
    key = node.cas.put(digest, content)
    s3 = seaweedfs.client(1)
    versions = s3.list_object_versions(Bucket=BUCKET, Prefix=key)["Versions"]
    assert len(versions) == 1
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=BUCKET, Key=key, VersionId=versions[0]["VersionId"])
    assert node.cas.get(key, digest, 0, len(content)) == content


def test_a_key_that_times_out_is_replaced_by_another_key(make_node: Callable[..., Node], seaweedfs: SeaweedFS) -> None:
    # Like a key that a dead gateway left locked: the connection is accepted, and no answer comes.
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        node = make_node(cas={**SHORT, "gateways": [url, seaweedfs.urls[1]]})
        digest, content = fresh()
        key = node.cas.put(digest, content)
    assert key.startswith(f"{names.cas_key(digest)}.")
    assert node.cas.get(key, digest, 0, len(content)) == content
    assert node.cas.lock(key).mode == "GOVERNANCE"


def test_a_part_is_read_by_offset_and_length(node: Node) -> None:
    digest, content = fresh()
    key = node.cas.put(digest, content)
    part = content[1000:2000]
    assert node.cas.get(key, names.digest_of(part), 1000, 1000) == part


def test_a_large_object_is_stored_and_read_whole(node: Node) -> None:
    digest, content = fresh(40_000_000)
    key = node.cas.put(digest, content)
    assert node.cas.get(key, digest, 0, len(content)) == content
    assert node.cas.head(key).digest == digest


def test_equal_bytes_stored_through_both_gateways_are_one_object(
    make_node: Callable[..., Node], seaweedfs: SeaweedFS
) -> None:
    nodes = [make_node(cas={"gateways": urls}) for urls in (seaweedfs.urls, seaweedfs.urls[::-1])]
    for _ in range(5):
        digest, content = fresh()
        together = threading.Barrier(2)

        def put(number: int, digest: str = digest, content: bytes = content, gate: threading.Barrier = together) -> str:
            gate.wait(10)
            return nodes[number].cas.put(digest, content)

        with ThreadPoolExecutor(2) as threads:
            assert set(threads.map(put, range(2))) == {names.cas_key(digest)}
    counted = [node.metrics.registry.get_sample_value("hapacs_cas_deduplicated_total") or 0 for node in nodes]
    assert sum(counted) == 5


def test_equal_bytes_from_many_callers_are_whole_under_each_returned_key(
    make_node: Callable[..., Node], seaweedfs: SeaweedFS
) -> None:
    # They wait for each other's lock on the key, and some time out (ADR 15).
    nodes = [make_node(cas={"gateways": urls}) for urls in (seaweedfs.urls, seaweedfs.urls[::-1])]
    for _ in range(5):
        digest, content = fresh()
        together = threading.Barrier(8)

        def put(number: int, digest: str = digest, content: bytes = content, gate: threading.Barrier = together) -> str:
            gate.wait(10)
            return nodes[number % 2].cas.put(digest, content)

        with ThreadPoolExecutor(8) as threads:
            keys = set(threads.map(put, range(8)))
        assert names.cas_key(digest) in keys
        assert all(key.startswith(names.cas_key(digest)) for key in keys)
        assert [nodes[0].cas.get(key, digest, 0, len(content)) for key in keys] == [content] * len(keys)


def test_simultaneous_images_share_a_locked_pack_with_digests_as_names(node: Node, seaweedfs: SeaweedFS) -> None:
    contents = {str(uuid4()): fresh()[1] for _ in range(24)}
    with ThreadPoolExecutor(8) as callers:
        list(callers.map(lambda item: node.storage.create(item[0], 1, item[1]), contents.items()))
    rows = [node.storage.catalog.find(UUID(uuid)) for uuid in contents]
    packs = {row.key for row in rows if row is not None and row.key.startswith("packs/")}
    assert packs
    for row, content in zip(rows, contents.values(), strict=True):
        assert row is not None
        assert node.cas.get(row.key, names.digest_of(content), row.offset, row.length) == content
    s3 = seaweedfs.client()
    for key in packs:
        assert node.cas.lock(key).mode == "GOVERNANCE"
        body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body), mode="r:") as tar:
            members = {member.name: file.read() for member in tar if (file := tar.extractfile(member))}
        assert members
        assert all(names.digest_of(content) == digest for digest, content in members.items())


def test_other_bytes_under_a_key_are_refused(node: Node) -> None:
    digest, content = fresh()
    client = node.cas.gateways.members[0].client
    client.create(names.cas_key(digest), b"other bytes", names.digest_of(b"other bytes"))
    with pytest.raises(CasConflictError):
        node.cas.put(digest, content)
    with pytest.raises(CasConflictError):
        node.cas.get(names.cas_key(digest), digest, 0, len(content))


def test_a_newer_version_is_never_returned_and_the_stored_one_stays_locked(node: Node, seaweedfs: SeaweedFS) -> None:
    digest, content = fresh()
    key = node.cas.put(digest, content)
    s3 = seaweedfs.client(1)
    stored = s3.head_object(Bucket=BUCKET, Key=key)["VersionId"]
    s3.put_object(Bucket=BUCKET, Key=key, Body=content[::-1])
    with pytest.raises(CasConflictError, match="other bytes than were stored"):
        node.cas.get(key, digest, 0, len(content))
    with pytest.raises(CasConflictError):
        node.cas.put(digest, content)
    versions = {one["VersionId"] for one in s3.list_object_versions(Bucket=BUCKET, Prefix=key)["Versions"]}
    assert (len(versions), stored in versions) == (2, True)
    assert s3.get_object(Bucket=BUCKET, Key=key, VersionId=stored)["Body"].read() == content
    assert s3.head_object(Bucket=BUCKET, Key=key, VersionId=stored)["ObjectLockMode"] == "GOVERNANCE"
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=BUCKET, Key=key, VersionId=stored)


def test_an_object_without_a_digest_is_read_before_it_counts_as_stored(node: Node, seaweedfs: SeaweedFS) -> None:
    digest, content = fresh()
    s3 = seaweedfs.client()
    s3.put_object(Bucket=BUCKET, Key=names.cas_key(digest), Body=content)
    assert node.cas.head(names.cas_key(digest)).digest is None
    assert node.cas.put(digest, content) == names.cas_key(digest)


def test_the_machines_proxy_is_not_used(make_node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    node = make_node(cas=SHORT)
    digest, content = fresh()
    assert node.cas.lock(node.cas.put(digest, content)).mode == "GOVERNANCE"


def test_an_object_that_both_gateways_do_not_find_is_missing(node: Node) -> None:
    with pytest.raises(CasMissingError):
        node.cas.get(names.cas_key("0" * 64), "0" * 64, 0, 1)
    with pytest.raises(CasMissingError):
        node.cas.lock(names.cas_key("0" * 64))


def test_a_dead_gateway_is_suspended(make_node: Callable[..., Node], seaweedfs: SeaweedFS) -> None:
    node = make_node(cas=SHORT)
    seaweedfs.gateways[0].kill()
    took = []
    for _ in range(5):
        digest, content = fresh()
        began = time.monotonic()
        node.cas.put(digest, content)
        took.append(time.monotonic() - began)
    assert max(took) < 3
    assert node.metrics.registry.get_sample_value("hapacs_cas_retries_total", {"operation": "put"}) == 1
    assert node.cas.probe() == "1 of 2 gateways answer"


def test_a_gateway_that_hangs_costs_one_time_out(make_node: Callable[..., Node], seaweedfs: SeaweedFS) -> None:
    node = make_node(cas=SHORT)
    seaweedfs.gateways[0].pause()
    took = []
    for _ in range(3):
        digest, content = fresh()
        began = time.monotonic()
        node.cas.put(digest, content)
        took.append(time.monotonic() - began)
    assert 0.9 < took[0] < 3
    assert node.metrics.registry.get_sample_value("hapacs_cas_retries_total", {"operation": "put"}) == 1


def test_without_a_gateway_it_fails_at_the_deadline_and_resumes_later(
    make_node: Callable[..., Node], seaweedfs: SeaweedFS
) -> None:
    node = make_node(cas=SHORT)
    digest, content = fresh()
    for gateway in seaweedfs.gateways:
        gateway.kill()
    began = time.monotonic()
    with pytest.raises(CasUnavailableError):
        node.storage.create(str(uuid4()), 1, content)
    assert time.monotonic() - began < 5
    assert node.storage.catalog.by_digest(digest) == []
    with pytest.raises(CasUnavailableError):
        node.cas.probe()
    seaweedfs.start()
    node.storage.create(str(uuid4()), 1, content)
    assert len(node.storage.catalog.by_digest(digest)) == 1


def test_a_missing_bucket_and_a_wrong_key_are_not_healthy(make_node: Callable[..., Node]) -> None:
    with pytest.raises(CasUnavailableError, match="403"):
        make_node(cas={"bucket": "nobodys"}).cas.probe()
    node = make_node()
    node.settings.cas.credentials_file.write_text('{"access_key": "node", "secret_key": "wrong"}')
    stranger = Node.build(node.settings, "store")
    with pytest.raises(CasUnavailableError, match="403"):
        stranger.cas.probe()
    stranger.close()
