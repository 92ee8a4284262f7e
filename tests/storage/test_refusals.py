"""What the nodes' keys may do at a real gateway: `cas-changes-refused` passes, and finds identities that may more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from hapacs.site.access import BUCKET, Node, Site
from hapacs.verify import refusals
from hapacs.verify.report import CheckFailedError
from tests.storage.servers import SeaweedFS
from tests.support.archive_identities import identities
from tests.unit.seaweedfs.test_archive import archive

# As the role wrote them before ADR 28.
FORMER = {"Read:archive", "List:archive", "Write:archive"}


class OneGateway:
    """A site with one gateway."""

    def __init__(self, url: str) -> None:
        self.url = url

    def members(self, _group: str) -> list[Node]:
        return [Node("pacs1", "", "", "", 22)]

    @cache  # noqa: B019 - it lives as long as its test
    def s3(self, _node: str, identity: str) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=identity,
            aws_secret_access_key=f"{identity}-secret",
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )


@contextmanager
def gateway(directory: Path, known: dict[str, Any], policy: Callable[[str], dict[str, Any]]) -> Iterator[Site]:
    """Run a store with one bucket as the role makes it."""
    server = SeaweedFS(directory)
    admin = {"accessKey": "admin", "secretKey": "admin-secret"}
    known["identities"].append({"name": "admin", "credentials": [admin], "actions": ["Admin"]})
    (server.directory / "s3.json").write_text(json.dumps(known))
    try:
        server.start()
        # The other gateway makes the bucket: this one hears of it from the filer, as those of a site do.
        maker = OneGateway(server.urls[1]).s3("pacs1", "admin")
        maker.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
        rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
        maker.put_object_lock_configuration(
            Bucket=BUCKET, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
        )
        maker.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy(BUCKET)))
        yield cast(Site, OneGateway(server.urls[0]))
    finally:
        server.kill()


@pytest.fixture
def place(directory: Path, tmp_path: Path) -> Path:
    """A directory of this test; sockets in it need a short name."""
    found = directory / tmp_path.name[:20]
    found.mkdir()
    return found


def test_keys_of_the_role_change_nothing(place: Path) -> None:
    with gateway(place, identities(), archive.policy) as site:
        assert refusals.check_changes(site) == "20 requests were refused at 1 gateways"
        reader = site.s3("pacs1", "reader")
        with pytest.raises(ClientError, match="AccessDenied"):
            reader.put_object(Bucket=BUCKET, Key="other", Body=b"")
        assert reader.get_object(Bucket=BUCKET, Key="verify/refusals")["Body"].read()


def test_keys_that_may_write_in_the_words_of_seaweedfs_are_found(place: Path) -> None:
    known = identities()
    for identity in known["identities"]:
        del identity["policyNames"]
        # They could not read the default lock, which the check needs to begin.
        identity["actions"] = [*FORMER, f"GetBucketObjectLockConfiguration:{BUCKET}"]
    with (
        gateway(place, known, lambda bucket: {**archive.policy(bucket), "Statement": [deletion(bucket)]}) as site,
        pytest.raises(CheckFailedError, match="a lifecycle rule with the storing services' keys succeeded"),
    ):
        refusals.check_changes(site)


def test_gateway_without_the_policy_is_found(place: Path) -> None:
    with (
        gateway(place, identities(), lambda bucket: {**archive.policy(bucket), "Statement": [reading(bucket)]}) as site,
        pytest.raises(CheckFailedError, match="deleting nothing with the storing services' keys succeeded"),
    ):
        refusals.check_changes(site)


def deletion(bucket: str) -> dict[str, Any]:
    """Return the former policy's statement, which refuses the deletion of objects alone."""
    resource = f"arn:aws:s3:::{bucket}/*"
    return {
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
        "Resource": resource,
    }


def reading(bucket: str) -> dict[str, Any]:
    """Return a statement that refuses nothing of what is tried."""
    return {
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:GetObjectTorrent"],
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
