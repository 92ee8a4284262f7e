"""The archive, asked by S3: a wrong object, a missing lock, and a deletion or a change that succeeds are reported."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from hapacs import dicom
from hapacs.dicom import files
from hapacs.site.access import Identity, Site
from hapacs.verify import archive, refusals
from hapacs.verify.report import CheckFailedError
from hapacs.verify.round_trip import Kept, RoundTrip
from tests.unit.verify.fake_s3 import FakeS3, FakeSite


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
    """The client with the answering services' keys."""
    return FakeS3(b"stored bytes")


@pytest.fixture
def node() -> FakeS3:
    """The client with the storing services' keys."""
    return FakeS3(b"stored bytes")


@pytest.fixture
def site(client: FakeS3, node: FakeS3) -> Site:
    return cast(Site, FakeSite({"reader": client, "node": node}))


def test_all_is_well(site: Site, found: RoundTrip) -> None:
    assert archive.check_objects(site, found).startswith("1 objects")
    assert "deleting 1 objects was refused" in refusals.check_deletion(site, found)
    assert refusals.check_changes(site) == "20 requests were refused at 1 gateways"


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


@pytest.mark.parametrize("identity", ["node", "reader"])
def test_successful_deletion_is_reported_for_each_identity(site: Site, found: RoundTrip, identity: Identity) -> None:
    client = site.s3("pacs1", identity)
    client.allowed = {"delete_object sha256/xx"}
    with pytest.raises(CheckFailedError, match=f"deleting sha256/xx with {refusals.IDENTITIES[identity]} succeeded"):
        refusals.check_deletion(site, found)
    assert client.asked[-1][1]["BypassGovernanceRetention"] is True


@pytest.mark.parametrize("request_", ["delete_object", "delete_objects"])
def test_gateway_that_deletes_is_found_without_risking_an_image(
    site: Site, found: RoundTrip, node: FakeS3, request_: str
) -> None:
    node.allowed = {request_}
    with pytest.raises(CheckFailedError, match=r"the gateway of pacs1: .* of nothing .*succeeded; `hapacs up` repairs"):
        refusals.check_deletion(site, found)
    assert "sha256/xx" not in str(node.asked)


@pytest.mark.parametrize("identity", ["node", "reader"])
@pytest.mark.parametrize(
    ("request_", "what"),
    [
        ("put_bucket_lifecycle_configuration", "a lifecycle rule"),
        ("put_bucket_policy", "a bucket policy"),
        ("put_object_lock_configuration", "a default lock"),
        ("put_bucket_acl", "an ACL of the bucket"),
        ("put_bucket_versioning", "a change of versioning"),
        ("put_object_acl", "an ACL of an object"),
        ("put_object_retention", "a shorter retention"),
        ("put_object_legal_hold", "a legal hold"),
    ],
)
def test_accepted_change_is_reported(site: Site, identity: Identity, request_: str, what: str) -> None:
    site.s3("pacs1", identity).allowed = {request_}
    with pytest.raises(CheckFailedError, match=f"pacs1: {what} with {refusals.IDENTITIES[identity]} succeeded"):
        refusals.check_changes(site)


def test_multi_delete_is_tried_on_the_object_of_the_check_only(site: Site, node: FakeS3) -> None:
    refusals.check_changes(site)
    keys = [words["Delete"]["Objects"][0]["Key"] for name, words in node.asked if name == "delete_objects"]
    assert set(keys) == {"nothing", "verify/refusals"}


def test_error_is_not_a_refusal(site: Site, found: RoundTrip, node: FakeS3) -> None:
    node.error = "InternalError"
    with pytest.raises(CheckFailedError, match="InternalError instead of a refusal"):
        refusals.check_deletion(site, found)
    with pytest.raises(CheckFailedError, match="InternalError instead of a refusal"):
        refusals.check_changes(site)


def test_check_without_objects_fails(site: Site) -> None:
    for check in (archive.check_objects, refusals.check_deletion):
        with pytest.raises(CheckFailedError, match="no object of this run"):
            check(site, RoundTrip([]))
