"""The archive, asked by S3: a wrong object, a missing lock and a deletion that succeeds are reported."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from hapacs import dicom
from hapacs.dicom import files
from hapacs.site.access import Node, Site
from hapacs.verify import archive
from hapacs.verify.report import CheckFailedError
from hapacs.verify.round_trip import Kept, RoundTrip


class FakeS3:
    def __init__(self, content: bytes) -> None:
        self.content = content
        self.mode = "GOVERNANCE"
        self.until = datetime.now(UTC) + timedelta(days=1)
        self.error = "AccessDenied"
        # Of what is not there; the policy refuses that too.
        self.nothing_error = "AccessDenied"
        self.version: str | None = "v1"
        self.deleted: list[dict[str, Any]] = []

    def get_object(self, **_: str) -> dict[str, Any]:
        return {"Body": io.BytesIO(self.content)}

    def head_object(self, **_: str) -> dict[str, Any]:
        return {"VersionId": self.version} if self.version else {}

    def get_object_retention(self, **_: str) -> dict[str, Any]:
        return {"Retention": {"Mode": self.mode, "RetainUntilDate": self.until}}

    def delete_object(self, **words: Any) -> None:
        if error := self.nothing_error if words["Key"] == "nothing" else self.error:
            raise ClientError({"Error": {"Code": error}}, "DeleteObject")
        self.deleted.append(words)


class FakeSite:
    contract = {"policy": {"retention_mode": "GOVERNANCE"}}  # noqa: RUF012 - nobody changes it

    def __init__(self, client: FakeS3) -> None:
        self.client = client

    def members(self, _group: str) -> list[Node]:
        return [Node("pacs1", "", "", "", 22)]

    def s3(self, _node: str, _identity: str) -> FakeS3:
        return self.client


@pytest.fixture
def found() -> RoundTrip:
    path = next(path for path in files.shipped_with_pydicom() if path.name == "CT_small.dcm")
    sample = dicom.read_sample(path)
    assert isinstance(sample, dicom.Sample)
    kept = Kept(sample, content=b"stored bytes")
    row = {"key": "sha256/xx", "offset": 0, "length": len(kept.content)}
    kept.record = {"catalog": [row]}
    return RoundTrip([], kept=[kept])


@pytest.fixture
def client() -> FakeS3:
    return FakeS3(b"stored bytes")


@pytest.fixture
def site(client: FakeS3) -> Site:
    return cast(Site, FakeSite(client))


def test_all_is_well(site: Site, found: RoundTrip) -> None:
    assert archive.check_objects(site, found).startswith("1 objects")
    assert "deleting 1 objects was refused" in archive.check_deletion(site, found)


def test_object_with_other_content_is_reported(site: Site, found: RoundTrip, client: FakeS3) -> None:
    client.content = b"stored bytez"
    with pytest.raises(CheckFailedError, match="has another digest"):
        archive.check_objects(site, found)


def test_expired_lock_is_reported(site: Site, found: RoundTrip, client: FakeS3) -> None:
    client.until = datetime.now(UTC) - timedelta(seconds=1)
    with pytest.raises(CheckFailedError, match="the lock of sha256/xx ended"):
        archive.check_objects(site, found)


def test_wrong_retention_mode_is_reported(site: Site, found: RoundTrip, client: FakeS3) -> None:
    client.mode = "COMPLIANCE"
    with pytest.raises(CheckFailedError, match="COMPLIANCE instead of GOVERNANCE"):
        archive.check_objects(site, found)


def test_successful_deletion_is_reported_for_each_identity(site: Site, found: RoundTrip, client: FakeS3) -> None:
    client.error = ""
    with pytest.raises(CheckFailedError, match=r"deleted by the nodes' identity.*deleted by the administrator"):
        archive.check_deletion(site, found)
    assert client.deleted[1]["BypassGovernanceRetention"] is True


def test_gateway_that_deletes_is_found_without_risking_an_image(site: Site, found: RoundTrip, client: FakeS3) -> None:
    client.error = client.nothing_error = ""
    with pytest.raises(CheckFailedError, match=r"the gateway of pacs1: nothing was deleted by the nodes' identity"):
        archive.check_deletion(site, found)
    assert {words["Key"] for words in client.deleted} == {"nothing"}


def test_error_is_not_a_refusal(site: Site, found: RoundTrip, client: FakeS3) -> None:
    client.error = "InternalError"
    with pytest.raises(CheckFailedError, match="InternalError instead of a refusal"):
        archive.check_deletion(site, found)


def test_check_without_objects_fails(site: Site) -> None:
    for check in (archive.check_objects, archive.check_deletion):
        with pytest.raises(CheckFailedError, match="no object of this run"):
            check(site, RoundTrip([]))
