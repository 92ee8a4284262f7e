"""The archive over three racks: locked, two copies, readable at each gateway, and shut but for S3."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from hapacs.load.waiting import eventually

DAEMONS = ("master", "volume", "filer", "s3")
CONTENT = os.urandom(1 << 20)
KEY = f"sha256/of/the/test/{hashlib.sha256(CONTENT).hexdigest()}"


def gateway(address: str, authorities: Path, identity: str = "node") -> Any:
    config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 5}, connect_timeout=10, read_timeout=60)
    return boto3.client(
        "s3",
        endpoint_url=f"https://{address}:8333",
        verify=str(authorities / "cas" / "ca.crt"),
        region_name="us-east-1",
        aws_access_key_id=identity,
        aws_secret_access_key=f"{identity}-secret-of-the-test",
        config=config,
    )


@pytest.mark.parametrize("daemon", DAEMONS)
def test_each_daemon_is_healthy_and_enabled(host: Any, address: str, daemon: str) -> None:
    assert host.service(f"seaweedfs-{daemon}").is_running
    assert host.service(f"seaweedfs-{daemon}").is_enabled
    host.check_output("/opt/hapacs/seaweedfs/bin/seaweedfs-check %s %s", daemon, address)


def test_object_is_readable_at_each_gateway(address: str, authorities: Path) -> None:
    client = gateway(address, authorities)
    if "Contents" not in client.list_objects_v2(Bucket="archive", Prefix=KEY):
        client.put_object(Bucket="archive", Key=KEY, Body=CONTENT, IfNoneMatch="*")
    # Whichever gateway of this test took it, nobody takes another one's place.
    with pytest.raises(ClientError, match="PreconditionFailed"):
        client.put_object(Bucket="archive", Key=KEY, Body=b"other", IfNoneMatch="*")
    assert client.get_object(Bucket="archive", Key=KEY)["Body"].read() == CONTENT


def test_object_is_locked(address: str, authorities: Path) -> None:
    node, reader = gateway(address, authorities), gateway(address, authorities, "reader")
    lock = node.get_object_lock_configuration(Bucket="archive")["ObjectLockConfiguration"]
    assert lock["Rule"]["DefaultRetention"] == {"Mode": "GOVERNANCE", "Days": 1}
    until = reader.head_object(Bucket="archive", Key=KEY)["ObjectLockRetainUntilDate"]
    assert until > datetime.now(UTC) + timedelta(hours=22)
    version = reader.head_object(Bucket="archive", Key=KEY)["VersionId"]
    for client in (node, reader):
        for words in ({}, {"VersionId": version}):
            with pytest.raises(ClientError, match=r"AccessDenied|MethodNotAllowed"):
                client.delete_object(Bucket="archive", Key=KEY, **words)


def test_reader_stores_nothing(address: str, authorities: Path) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        gateway(address, authorities, "reader").put_object(Bucket="archive", Key=f"{KEY}.reader", Body=CONTENT)


def test_identity_at_the_filer_is_unknown_to_the_gateways(host: Any, address: str, authorities: Path) -> None:
    weed = f"cd /etc/seaweedfs && /opt/hapacs/seaweedfs/bin/weed shell -master={address}:9333 -filer={address}:8888"
    user = "s3.configure -user=intruder"
    key = "-access_key=intruder -secret_key=intruder-secret-of-the-test -actions=Admin"
    host.check_output(f"echo '{user} {key} -apply' | ({weed})")
    try:
        with pytest.raises(ClientError, match="InvalidAccessKeyId"):
            gateway(address, authorities, "intruder").list_objects_v2(Bucket="archive")
    finally:
        host.check_output(f"echo '{user} -delete -apply' | ({weed})")


def test_object_copies_are_in_two_racks(host: Any, address: str) -> None:
    shell = f"cd /etc/seaweedfs && echo volume.list | /opt/hapacs/seaweedfs/bin/weed shell -master={address}:9333"
    rack, racks = "", dict[str, set[str]]()
    for words in map(str.split, host.check_output(shell).splitlines()):
        if words[:1] == ["Rack"]:
            rack = words[1]
        elif words[:1] == ["volume"] and "Collection:archive," in words:
            assert "ReplicaPlacement:010," in words, words
            racks.setdefault(words[1], set()).add(rack)
    assert racks
    assert all(len(found) == 2 for found in racks.values()), racks


def test_keys_are_readable_by_their_users_only(host: Any) -> None:
    for path, group in {
        "security.toml": "seaweedfs",
        "filer.toml": "seaweedfs",
        "s3/identities.json": "seaweedfs-s3",
    }.items():
        file = host.file(f"/etc/seaweedfs/{path}")
        assert (file.user, file.group, file.mode) == ("root", group, 0o640), path
    # Who speaks to the network's clients can't sign access to volumes.
    assert "signing-key-of-the-test" in host.file("/etc/seaweedfs/security.toml").content_string
    assert "[jwt.signing]" not in host.file("/etc/seaweedfs/s3/security.toml").content_string


@pytest.mark.parametrize("daemon", DAEMONS)
def test_daemon_that_hangs_is_killed_and_starts_again(host: Any, address: str, daemon: str) -> None:
    main = f"systemctl show --property=MainPID --value seaweedfs-{daemon}"
    before = host.check_output(main)
    host.check_output(f"systemctl kill --signal=STOP seaweedfs-{daemon}")
    eventually("it has another process", lambda: host.check_output(main) not in {before, "0"}, 30, 0.5)
    check = f"/opt/hapacs/seaweedfs/bin/seaweedfs-check {daemon} {address}"
    eventually("it works again", lambda: host.run(check).rc == 0, 60, 1)
