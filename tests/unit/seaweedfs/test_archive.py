from __future__ import annotations

import datetime
import importlib.util
import json
import sys
from types import ModuleType
from typing import Any

import pytest

# It also lets the module find what our modules share.
from tests.unit.ansible.loading import ANSIBLE

ROLE = ANSIBLE / "roles/seaweedfs"
SYNCED = '{"version": 1, "locations": [{"locationPrefix": "/buckets/archive/", "fsync": true}]}'
PARAMETERS = {
    "weed": "/weed", "configuration": "/", "masters": "m", "filer": "f", "endpoint": "https://192.0.2.1:8333",
    "bucket": "archive", "region": "us-east-1", "access_key": "a", "secret_key": "s", "retention_mode": "GOVERNANCE",
    "retention_days": 1, "holds_data": False, "settle_s": 0,
}  # fmt: skip


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("seaweedfs_archive", ROLE / "library/seaweedfs_archive.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclass looks the module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


archive = _load()
s3_client = sys.modules["ansible.module_utils.s3_client"]
temporary = sys.modules["ansible.module_utils.temporary_gateway"]


class Gateway:
    """A gateway with one bucket, or none."""

    def __init__(self, *, bucket: bool, locked: bool = True) -> None:
        self.bucket = bucket
        self.locked = locked
        self.lock: bytes | None = None
        self.policy: bytes | None = None

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        what = path.partition("?")[2]
        if method == "PUT" and not what:
            self.bucket, self.locked = True, (headers or {}).get("x-amz-bucket-object-lock-enabled") == "true"
        elif method == "PUT":
            setattr(self, {"object-lock": "lock", "policy": "policy"}[what], body)
        elif what == "location":
            return (200 if self.bucket else 404), b""
        elif what == "policy":
            return (200, self.policy) if self.policy else (404, b"")
        elif self.locked:
            empty = b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>"
            return 200, self.lock or empty
        else:
            return 404, b""
        return 200, b""


class Shell:
    """`weed shell`, as far as the module uses it."""

    def __init__(self) -> None:
        self.configured = ""

    def __call__(self, command: str) -> str:
        if "-apply" in command:
            self.configured = SYNCED
        return f"> {self.configured}\n"


def keep(gateway: Gateway, *, shell: Shell | None = None, check_mode: bool = False, **changed: Any) -> list[str]:
    kept = archive.Archive.__new__(archive.Archive)
    kept.parameters, kept.check_mode, kept.bucket, kept.done = PARAMETERS | changed, check_mode, "archive", []
    kept.client = kept._provisioner = gateway
    kept.shell = shell or Shell()
    kept.keep()
    done: list[str] = kept.done
    return done


def test_bucket_is_created_locked_synced_and_undeletable_once() -> None:
    gateway, shell = Gateway(bucket=False), Shell()
    assert len(keep(gateway, shell=shell)) == 4
    assert gateway.locked
    assert gateway.policy is not None
    assert json.loads(gateway.policy)["Statement"][0]["Effect"] == "Deny"
    assert archive.read_lock_configuration(gateway.lock)["Days"] == "1"
    assert keep(gateway, shell=shell) == []
    gateway.policy = gateway.policy.replace(b"Deny", b"Allow")
    assert keep(gateway, shell=shell) == ["refuse deletion"]


def test_check_mode_changes_nothing_and_reports_everything() -> None:
    gateway = Gateway(bucket=False)
    assert len(keep(gateway, check_mode=True)) == 4
    assert not gateway.bucket


def test_bucket_is_not_created_beside_volumes_with_data() -> None:
    gateway = Gateway(bucket=False)
    with pytest.raises(archive.ArchiveError, match="hold volumes"):
        keep(gateway, holds_data=True)
    assert not gateway.bucket


def test_a_bucket_without_lock_is_refused() -> None:
    with pytest.raises(archive.ArchiveError, match="Object Lock"):
        keep(Gateway(bucket=True, locked=False))


def test_policy_refuses_multi_delete_lifecycle_and_access_too() -> None:
    (statement,) = archive.policy("archive")["Statement"]
    assert {"s3:DeleteObject", "s3:PutLifecycleConfiguration", "s3:PutBucketAcl"} <= set(statement["Action"])
    # A multi-delete is a request of the bucket.
    assert set(statement["Resource"]) == {"arn:aws:s3:::archive", "arn:aws:s3:::archive/*"}


def test_a_gateway_with_the_identities_of_an_earlier_version_is_no_error_in_check_mode() -> None:
    gateway = Gateway(bucket=True)
    answer = gateway.request
    gateway.request = lambda method, path, *rest: (  # type: ignore[method-assign]
        (403, b"") if path.endswith("?object-lock") else answer(method, path, *rest)
    )
    assert "default retention GOVERNANCE 1 days" in keep(gateway, check_mode=True)
    with pytest.raises(archive.ArchiveError, match="Object Lock"):
        keep(gateway)


def test_lists_of_one_are_the_same_policy_as_their_element() -> None:
    assert archive.plain({"Action": ["a"], "Resource": ["b", "c"]}) == {"Action": "a", "Resource": ["b", "c"]}


def test_temporary_identity_may_configure_the_bucket_and_touch_no_object() -> None:
    document = temporary.identities("archive", "key", "secret")
    (identity,), (policy,) = document["identities"], document["policies"]
    assert "actions" not in identity
    assert identity["policyNames"] == [policy["name"]]
    (statement,) = json.loads(policy["content"])["Statement"]
    assert statement["Resource"] == ["arn:aws:s3:::archive"]
    assert not [
        action
        for action in statement["Action"]
        if "Delete" in action or "*" in action or "Object" in action.removesuffix("ObjectLockConfiguration")
    ]


def test_a_longer_retention_is_set() -> None:
    gateway, shell = Gateway(bucket=False), Shell()
    keep(gateway, shell=shell)
    assert keep(gateway, shell=shell, retention_days=30) == ["default retention GOVERNANCE 30 days"]


def test_the_signature_is_that_of_the_published_example() -> None:
    # Amazon S3 API reference, "Signature calculations for the Authorization header", example GET Bucket Lifecycle.
    headers = s3_client.signature_headers(
        "GET",
        "https://examplebucket.s3.amazonaws.com/?lifecycle",
        b"",
        access_key="AKIAIOSFODNN7EXAMPLE",
        secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        region="us-east-1",
        now=datetime.datetime(2013, 5, 24, tzinfo=datetime.UTC),
    )
    assert headers["authorization"].endswith(
        "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    )


@pytest.mark.parametrize("output", ["", "{}", SYNCED.replace("true", "false"), SYNCED.replace("archive", "other")])
def test_unsynced_path_is_detected(output: str) -> None:
    assert not archive.syncs(f"> {output}\n>", "/buckets/archive/")
    assert archive.syncs(f"> {SYNCED}\n>", "/buckets/archive/")


class Guarded:
    """A gateway that refuses to delete, or does not before it was restarted often enough."""

    def __init__(self, *, bucket: bool = True, heals_after: int = 0) -> None:
        self.bucket, self.heals_after, self.starts = bucket, heals_after, 0
        self.deleted: list[str] = []

    def request(self, method: str, path: str, *_: Any) -> tuple[int, bytes]:
        if method == "GET":
            return (200 if self.bucket else 404), b""
        if self.starts >= self.heals_after:
            return 403, b""
        self.deleted.append(path)
        return 204, b""

    def start(self, command: list[str], **_: Any) -> None:
        assert command == ["systemctl", "restart", "seaweedfs-s3.service"]
        self.starts += 1


def guard(gateway: Guarded, monkeypatch: pytest.MonkeyPatch, *, check_mode: bool = False) -> list[str]:
    guarded = archive.Archive.__new__(archive.Archive)
    guarded.parameters, guarded.check_mode, guarded.bucket, guarded.done = PARAMETERS, check_mode, "archive", []
    guarded.client = gateway
    monkeypatch.setattr(archive.subprocess, "run", gateway.start)
    monkeypatch.setattr(archive.time, "sleep", lambda _: None)
    monkeypatch.setattr(archive, "READY_S", 0.2)
    guarded.guard()
    done: list[str] = guarded.done
    return done


def test_gateway_that_refuses_deletion_is_not_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = Guarded()
    assert guard(gateway, monkeypatch) == []
    assert gateway.starts == 0


def test_gateway_without_the_policy_is_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = Guarded(heals_after=1)
    assert len(guard(gateway, monkeypatch, check_mode=True)) == 1
    assert gateway.starts == 0
    assert len(guard(gateway, monkeypatch)) == 1
    assert gateway.starts == 1
    # Only what nobody has is asked to be deleted.
    assert set(gateway.deleted) == {f"/archive/nothing?versionId={'0' * 32}"}
    assert guard(gateway, monkeypatch) == []


def test_gateway_that_still_deletes_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(archive.ArchiveError, match="does not refuse deletion"):
        guard(Guarded(heals_after=2), monkeypatch)


def test_gateway_without_the_bucket_is_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = Guarded(bucket=False, heals_after=1)
    # It may be a check before there is any.
    assert guard(gateway, monkeypatch, check_mode=True) == []
    assert len(guard(gateway, monkeypatch)) == 1
    assert gateway.starts == 1


def test_gateway_that_refuses_only_at_first_is_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway, asked = Guarded(), []

    def forgets(method: str, path: str, *_: Any) -> tuple[int, bytes]:
        asked.append(path)
        return (204 if gateway.starts == 0 and len(asked) > 3 else 403 if method == "DELETE" else 200), b""

    monkeypatch.setattr(gateway, "request", forgets)
    monkeypatch.setitem(PARAMETERS, "settle_s", 0.05)
    assert len(guard(gateway, monkeypatch)) == 1
    assert gateway.starts == 1
