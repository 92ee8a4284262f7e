import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.exceptions import GenericError, PermissionDeniedError

from hapacs_node.errors import CasConflictError, CasDamagedError, CasMissingError, CasUnavailableError
from hapacs_node.metrics import Metrics
from hapacs_node.storage import names
from hapacs_node.storage.cas import Cas, patience_s
from hapacs_node.storage.gateways import Gateway, Gateways
from tests.unit.node.fakes import FakeBucket, FakeClient

CONTENT = b"a DICOM file"
DIGEST = names.digest_of(CONTENT)
KEY = names.cas_key(DIGEST)
DOWN = GenericError("connection refused")


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


def test_an_object_is_stored_once_with_its_digest(cas: Cas, bucket: FakeBucket, metrics: Metrics) -> None:
    assert cas.put(DIGEST, CONTENT) == KEY
    assert cas.put(DIGEST, CONTENT) == KEY
    assert bucket.objects == {KEY: (CONTENT, DIGEST)}
    assert value(metrics, "hapacs_cas_deduplicated_total") == 1


@pytest.mark.parametrize(
    "fault", [DOWN, PermissionDeniedError("no identities yet"), FileNotFoundError("no such bucket"), ValueError("odd")]
)
def test_any_failure_of_a_gateway_leads_to_the_next_gateway(
    cas: Cas, bucket: FakeBucket, clients: list[FakeClient], fault: Exception
) -> None:
    clients[0].always = fault
    cas.put(DIGEST, CONTENT)
    assert bucket.objects[KEY] == (CONTENT, DIGEST)


def test_a_dead_gateway_is_suspended(cas: Cas, clients: list[FakeClient]) -> None:
    clients[0].always = DOWN
    for number in range(10):
        content = b"%d" % number
        cas.put(names.digest_of(content), content)
    assert len(clients[0].requests) == 1


def test_an_object_that_is_not_found_after_it_was_stored_is_stored_under_another_key(
    cas: Cas, bucket: FakeBucket, clients: list[FakeClient], metrics: Metrics
) -> None:
    clients[0].forgetful = True
    key = cas.put(DIGEST, CONTENT)
    assert key.startswith(f"{KEY}.")
    assert bucket.objects == {key: (CONTENT, None)}
    assert value(metrics, "hapacs_cas_doubted_total", reason="stored but not found") == 1


def test_a_pack_that_is_not_found_after_it_was_stored_is_stored_again(
    cas: Cas, bucket: FakeBucket, clients: list[FakeClient]
) -> None:
    clients[0].forgetful = True
    key = cas.put_pack(CONTENT)
    assert bucket.objects == {key: (CONTENT, None)}
    assert clients[1].requests == [("put", key), ("head", key)]


@pytest.mark.parametrize("store", [lambda cas: cas.put(DIGEST, CONTENT), lambda cas: cas.put_pack(CONTENT)])
def test_nothing_is_stored_while_no_gateway_finds_what_it_stored(
    cas: Cas, clients: list[FakeClient], store: Callable[[Cas], str]
) -> None:
    for client in clients:
        client.forgetful = True
    with pytest.raises(CasUnavailableError):
        store(cas)


def test_an_object_of_another_size_than_was_stored_is_stored_again(
    cas: Cas, bucket: FakeBucket, clients: list[FakeClient]
) -> None:
    clients[0].faults += [None, lambda: bucket.objects.update({KEY: (CONTENT[:3], DIGEST)})]
    with pytest.raises(CasConflictError):
        cas.put(DIGEST, CONTENT)
    assert clients[1].requests == [("create", KEY), ("head", KEY)]


def test_a_lost_answer_makes_no_second_object(cas: Cas, bucket: FakeBucket, clients: list[FakeClient]) -> None:
    clients[0].late_faults.append(GenericError("time-out"))
    assert cas.put(DIGEST, CONTENT) == KEY
    assert clients[1].requests == [("create", KEY), ("head", KEY)]
    assert len(bucket.objects) == 1


def test_a_locked_key_is_replaced_by_another_key(cas: Cas, bucket: FakeBucket, clients: list[FakeClient]) -> None:
    clients[0].faults.append(TimeoutError("no answer about the name"))
    key = cas.put(DIGEST, CONTENT)
    assert key.startswith(f"{KEY}.")
    assert (clients[0].requests, clients[1].requests) == ([("create", KEY)], [("put", key), ("head", key)])
    assert bucket.objects == {key: (CONTENT, None)}


def test_a_key_that_timed_out_is_not_used_again(cas: Cas, bucket: FakeBucket, clients: list[FakeClient]) -> None:
    clients[0].faults.append(TimeoutError("no answer about the name"))
    clients[1].faults += [DOWN, DOWN]
    key = cas.put(DIGEST, CONTENT)
    assert key != KEY
    assert list(bucket.objects) == [key]
    assert ("create", KEY) not in clients[1].requests


@pytest.mark.parametrize(
    "stored",
    [(b"other bytes!", names.digest_of(b"other bytes!")), (b"a", DIGEST), (b"other bytes!", None)],
    ids=["other digest", "other size", "other bytes without a digest"],
)
def test_other_bytes_under_the_key_are_a_conflict(
    cas: Cas, bucket: FakeBucket, stored: tuple[bytes, str | None]
) -> None:
    bucket.objects[KEY] = stored
    with pytest.raises(CasConflictError):
        cas.put(DIGEST, CONTENT)
    assert bucket.objects[KEY] == stored


def test_an_object_without_a_recorded_digest_is_read_and_checked(cas: Cas, bucket: FakeBucket) -> None:
    bucket.objects[KEY] = (CONTENT, None)
    assert cas.put(DIGEST, CONTENT) == KEY


def test_an_object_that_exists_but_is_not_found_is_retried(
    cas: Cas, bucket: FakeBucket, clients: list[FakeClient]
) -> None:
    bucket.objects[KEY] = (CONTENT, DIGEST)
    clients[0].faults += [None, FileNotFoundError(KEY)]
    assert cas.put(DIGEST, CONTENT) == KEY
    assert clients[1].requests == [("create", KEY), ("head", KEY)]


def test_without_a_gateway_it_fails_at_the_deadline_with_the_reasons(cas: Cas, clients: list[FakeClient]) -> None:
    for client in clients:
        client.always = DOWN
    cas.gateways.sleep = time.sleep
    began = time.monotonic()
    with pytest.raises(CasUnavailableError, match="connection refused"):
        cas.put(DIGEST, CONTENT)
    assert time.monotonic() - began <= 2.5
    assert all(client.requests for client in clients)


def test_an_archive_that_takes_no_writes_is_known_until_it_takes_one(cas: Cas, clients: list[FakeClient]) -> None:
    assert cas.takes_writes
    for client in clients:
        client.always = DOWN
    with pytest.raises(CasUnavailableError):
        cas.put_pack(CONTENT)
    assert not cas.takes_writes
    for client in clients:
        client.always = None
    cas.put_pack(CONTENT)
    assert cas.takes_writes


def test_a_failed_write_counts_for_a_minute(
    cas: Cas, clients: list[FakeClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    for client in clients:
        client.always = DOWN
    with pytest.raises(CasUnavailableError):
        cas.probe()
    now = time.monotonic()
    monkeypatch.setattr("hapacs_node.storage.cas.time.monotonic", lambda: now + 59)
    assert not cas.takes_writes
    monkeypatch.setattr("hapacs_node.storage.cas.time.monotonic", lambda: now + 61)
    assert cas.takes_writes


def test_an_archive_that_comes_back_before_the_deadline_is_used(
    cas: Cas, bucket: FakeBucket, clients: list[FakeClient], metrics: Metrics
) -> None:
    for client in clients:
        client.faults += [DOWN, DOWN, DOWN]
    cas.put(DIGEST, CONTENT)
    assert KEY in bucket.objects
    assert value(metrics, "hapacs_cas_retries_total", operation="put") == 6


def test_get_returns_the_requested_part(cas: Cas, bucket: FakeBucket) -> None:
    bucket.objects["pack"] = (b"before" + CONTENT + b"after", None)
    assert cas.get("pack", DIGEST, 6, len(CONTENT)) == CONTENT


def test_a_404_of_one_gateway_is_checked_at_the_other(
    cas: Cas, bucket: FakeBucket, clients: list[FakeClient], metrics: Metrics
) -> None:
    bucket.objects[KEY] = (CONTENT, DIGEST)
    clients[0].always = FileNotFoundError(KEY)
    assert cas.get(KEY, DIGEST, 0, len(CONTENT)) == CONTENT
    assert cas.head(KEY).size == len(CONTENT)
    assert value(metrics, "hapacs_cas_doubted_total", reason="not found") == 2


def test_an_object_is_missing_when_all_gateways_answer_404(cas: Cas, clients: list[FakeClient]) -> None:
    with pytest.raises(CasMissingError):
        cas.get(KEY, DIGEST, 0, 1)
    assert [client.requests for client in clients] == [[("get", KEY)], [("get", KEY)]]


def test_a_404_with_the_other_gateway_down_is_unavailable_not_missing(cas: Cas, clients: list[FakeClient]) -> None:
    clients[1].always = DOWN
    cas.deadline_s = 0.5
    cas.gateways.sleep = time.sleep
    with pytest.raises(CasUnavailableError, match=r"no such object; .*connection refused"):
        cas.get(KEY, DIGEST, 0, 1)


def test_the_only_gateway_is_asked_twice(bucket: FakeBucket, metrics: Metrics) -> None:
    client = FakeClient(bucket, faults=[FileNotFoundError(KEY)])
    bucket.objects[KEY] = (CONTENT, DIGEST)
    cas = Cas(Gateways([Gateway("https://only", client)], metrics, sleep=lambda _: None), 2.0, metrics)
    assert cas.get(KEY, DIGEST, 0, len(CONTENT)) == CONTENT
    del bucket.objects[KEY]
    with pytest.raises(CasMissingError):
        cas.head(KEY)


def test_wrong_bytes_of_one_gateway_are_read_from_the_other(
    cas: Cas, bucket: FakeBucket, clients: list[FakeClient], metrics: Metrics
) -> None:
    bucket.objects[KEY] = (CONTENT, DIGEST)
    clients[0].bucket = FakeBucket({KEY: (b"rotten bytes", DIGEST)})
    assert cas.get(KEY, DIGEST, 0, len(CONTENT)) == CONTENT
    assert value(metrics, "hapacs_cas_doubted_total", reason="wrong bytes") == 1
    bucket.objects[KEY] = (b"rotten bytes", DIGEST)
    with pytest.raises(CasConflictError):
        cas.get(KEY, DIGEST, 0, len(CONTENT))


def test_one_gateway_that_answers_is_enough_for_health(cas: Cas, clients: list[FakeClient]) -> None:
    clients[0].always = DOWN
    assert cas.probe() == "1 of 2 gateways answer"
    clients[1].always = FileNotFoundError("no such bucket")
    with pytest.raises(CasUnavailableError, match="no such bucket"):
        cas.probe()


def test_the_lock_is_returned(cas: Cas) -> None:
    cas.put(DIGEST, CONTENT)
    assert cas.lock(KEY).mode == "GOVERNANCE"


@given(st.integers(1, 10**11))
def test_large_objects_get_more_time_with_few_different_time_outs(size: int) -> None:
    extra_s = patience_s(size)
    assert extra_s == 0 if size <= 32_000_000 else size / 10_000_000 <= extra_s <= 2 * size / 10_000_000
    assert extra_s & (extra_s - 1) == 0


def test_parts_of_an_object_are_read_with_one_request_and_each_is_checked(
    cas: Cas, bucket: FakeBucket, clients: list[FakeClient]
) -> None:
    parts = [(names.digest_of(content), offset, len(content)) for content, offset in ((b"one", 512), (b"three", 1536))]
    bucket.objects["packs/a.tar"] = (bytes(512) + b"one" + bytes(1021) + b"three" + bytes(507), None)
    assert cas.get_parts("packs/a.tar", parts) == [b"one", b"three"]
    assert clients[0].requests == [("get", "packs/a.tar")]
    bucket.objects["packs/a.tar"] = (bytes(512) + b"one" + bytes(1021) + b"other" + bytes(507), None)
    with pytest.raises(CasConflictError):
        cas.get_parts("packs/a.tar", parts)


def test_an_object_that_no_gateway_returns_is_damaged_when_the_archive_answers(
    cas: Cas, clients: list[FakeClient]
) -> None:
    cas.damaged_after_s = 0
    key = cas.put(DIGEST, CONTENT)
    for client in clients:
        client.damaged = True
    with pytest.raises(CasDamagedError, match="the archive answers, but not with the object"):
        cas.get(key, DIGEST, 0, len(CONTENT))


def test_an_archive_that_does_not_answer_at_all_is_waited_for(cas: Cas, clients: list[FakeClient]) -> None:
    cas.damaged_after_s, cas.deadline_s = 0, 0.5
    key = cas.put(DIGEST, CONTENT)
    for client in clients:
        client.always = DOWN
    with pytest.raises(CasUnavailableError, match=r"within 0\.5 s") as caught:
        cas.get(key, DIGEST, 0, len(CONTENT))
    assert not isinstance(caught.value, CasDamagedError)
