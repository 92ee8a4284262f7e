"""An S3 gateway that runs while the bucket of the archive is made and configured."""

from __future__ import annotations

import json
import os
import pwd
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible.module_utils.s3_client import TIMEOUT_S, Client

USER = "seaweedfs-s3"
# The filer may be busy.
READY_S = 60
# Longest life of the temporary gateway, also when this module is killed.
LIFETIME_S = 300
# What the bucket has to be made and configured. No deletion, and no access to an object.
PROVISIONING = (
    "s3:CreateBucket",
    "s3:GetBucketLocation",
    "s3:ListBucket",
    "s3:PutBucketObjectLockConfiguration",
    "s3:PutBucketPolicy",
)


def identities(bucket: str, access_key: str, secret_key: str) -> dict[str, Any]:
    """Return the identities of the temporary gateway: one that may make the bucket and configure it."""
    statement = {"Effect": "Allow", "Action": list(PROVISIONING), "Resource": [f"arn:aws:s3:::{bucket}"]}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    return {
        "identities": [{"name": "provisioning", "credentials": credentials, "policyNames": ["provisioning"]}],
        "policies": [{"name": "provisioning", "content": json.dumps(document)}],
    }


def free_ports(count: int) -> list[int]:
    """Return ports of loopback on which nothing listens."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@contextmanager
def temporary_gateway(parameters: dict[str, Any]) -> Iterator[Client]:
    """Run a gateway on loopback whose one identity may make and configure the bucket; yield a client with its keys."""
    bucket, user = parameters["bucket"], pwd.getpwnam(USER)
    access_key, secret_key = secrets.token_hex(10), secrets.token_hex(32)
    port, grpc_port = free_ports(2)
    client = Client(f"http://127.0.0.1:{port}", parameters["region"], access_key, secret_key, None)
    with tempfile.TemporaryDirectory(prefix="seaweedfs-s3-", dir=parameters["runtime"]) as directory:
        os.chown(directory, user.pw_uid, user.pw_gid)
        file = Path(directory, "identities.json")
        file.touch(mode=0o600)
        os.chown(file, user.pw_uid, user.pw_gid)
        file.write_text(json.dumps(identities(bucket, access_key, secret_key)), encoding="utf-8")
        log = Path(directory, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    "timeout", "--kill-after=5", str(LIFETIME_S), parameters["weed"], "-logtostderr=true", "s3",
                    "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-port={port}", f"-port.grpc={grpc_port}",
                    f"-filer={parameters['filer']}", f"-config={file}", "-iam=false", "-autoCreateBucket=false",
                    "-port.iceberg=0", "-port.lance=0", f"-localSocket={directory}/s3.sock",
                ],
                cwd=f"{parameters['configuration']}/s3", stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                user=user.pw_uid, group=user.pw_gid, extra_groups=[],
            )  # fmt: skip
        try:
            deadline = time.monotonic() + READY_S
            while not answers(client, bucket):
                if process.poll() is not None or time.monotonic() > deadline:
                    said = log.read_text(encoding="utf-8", errors="replace").strip()[-500:]
                    raise OSError(f"The temporary S3 gateway does not work: {said}")
                time.sleep(0.2)
            yield client
        finally:
            process.terminate()
            process.wait(timeout=3 * TIMEOUT_S)


def answers(client: Client, bucket: str) -> bool:
    """Say whether a gateway knows if there is the bucket."""
    try:
        return client.request("GET", f"/{bucket}?location")[0] in (200, 404)
    except OSError:
        return False
