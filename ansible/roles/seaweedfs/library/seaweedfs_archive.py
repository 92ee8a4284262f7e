#!/usr/bin/python
# Part of hapacs, AGPL-3.0-or-later.
"""Ansible module: keep the locked bucket of a SeaweedFS store as it was asked for."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
from contextlib import ExitStack
from typing import Any
from xml.etree import ElementTree

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.s3_client import TIMEOUT_S, Client
from ansible.module_utils.temporary_gateway import temporary_gateway

DOCUMENTATION = r"""
module: seaweedfs_archive
short_description: Keep the locked bucket of a SeaweedFS store
description:
  - Has every write below the bucket synced to disk, makes the bucket with Object Lock, gives it a default retention and
    a policy that refuses deletion. What is already so is left alone.
  - Looks with the nodes' keys, which may not configure the bucket. To change something it runs a gateway of its own on
    127.0.0.1 for as long as that takes. Nobody else has the keys of its identity, so no gateway of the site knows an
    administrator.
  - Never makes the bucket when the volume servers hold volumes of it. Its metadata would then be lost or elsewhere, and
    an empty bucket would hide that.
  - With C(guard) only the gateway of this node is looked at. One that does not refuse deletion, because it never heard
    of the policy, is restarted.
options:
  guard: {type: bool, default: false, description: Look at this node's gateway only. The bucket is made elsewhere.}
  settle_s: {type: int, default: 0, description: 'With C(guard): for how long it has to refuse, in seconds.'}
  weed: {type: path, description: The weed program. Needed without C(guard), as are the next three and the last three.}
  configuration: {type: path, description: The directory whose security.toml the shell uses.}
  runtime: {type: path, default: /run, description: Where the temporary gateway has its files.}
  masters: {type: str, description: 'The masters as host:port, with commas.'}
  filer: {type: str, description: 'A filer as host:port.'}
  endpoint: {type: str, required: true, description: The URL of an S3 gateway.}
  ca_file: {type: path, required: true, description: The authority that the gateway's certificate comes from.}
  bucket: {type: str, required: true, description: The bucket.}
  region: {type: str, required: true, description: The region that requests are signed for.}
  access_key: {type: str, required: true, description: The nodes' access key.}
  secret_key: {type: str, required: true, description: The nodes' secret key.}
  retention_mode: {type: str, choices: [GOVERNANCE, COMPLIANCE], description: Mode of retention.}
  retention_days: {type: int, description: Length of retention.}
  holds_data: {type: bool, description: Whether any volume server holds volumes of the bucket.}
author: [hapacs]
"""

RETURN = r"""
done: {type: list, elements: str, returned: always, description: What was changed.}
"""

XML_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
# The store may still be electing its leader or starting its gateway.
READY_S = 60
GATEWAY = "seaweedfs-s3.service"
# Refused to everyone, also to an identity that may do anything. Not in it: what the provisioning of the bucket needs.
REFUSED = (
    "s3:BypassGovernanceRetention",
    "s3:DeleteBucket",
    "s3:DeleteBucketPolicy",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:PutBucketAcl",
    "s3:PutLifecycleConfiguration",
    "s3:PutObjectAcl",
)
# An object that does not exist, so that nothing is lost when the deletion is not refused. The nodes' identity may
# delete this one, so only the bucket's policy refuses it.
NO_VERSION = "0" * 32


class ArchiveError(Exception):
    """The archive is not as it must be, and the message says what to do."""


def lock_configuration(mode: str, days: int) -> bytes:
    """Return the Object Lock configuration as S3's XML."""
    return (
        f'<ObjectLockConfiguration xmlns="{XML_NAMESPACE}"><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>'
        f"<DefaultRetention><Mode>{mode}</Mode><Days>{days}</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
    ).encode()


def read_lock_configuration(body: bytes) -> dict[str, str]:
    """Return tag and text of an Object Lock configuration's elements, without their name space."""
    root = ElementTree.fromstring(body)  # noqa: S314 (from our own gateway)
    return {item.tag.rpartition("}")[2]: (item.text or "").strip() for item in root.iter()}


def policy(bucket: str) -> dict[str, Any]:
    """Return the bucket policy: nobody deletes."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "NobodyDeletes",
                "Effect": "Deny",
                "Principal": "*",
                "Action": list(REFUSED),
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
            }
        ],
    }


def plain(value: Any) -> Any:
    """Return a policy with each list of one element as that element: both mean the same, and gateways give either."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return plain(value[0]) if len(value) == 1 else [plain(item) for item in value]
    return value


def syncs(shell_output: str, prefix: str) -> bool:
    """Say whether the filers' path configuration, as `fs.configure` prints it, has `prefix` synced on each write."""
    start, end = shell_output.find("{"), shell_output.rfind("}")
    if start < 0:
        return False
    locations = json.loads(shell_output[start : end + 1]).get("locations", [])
    return any(item.get("locationPrefix") == prefix and item.get("fsync") for item in locations)


class Archive:
    """The bucket, step by step; each step looks first and notes what it changed."""

    def __init__(self, parameters: dict[str, Any], *, check_mode: bool) -> None:
        self.parameters = parameters
        self.check_mode = check_mode
        self.bucket: str = parameters["bucket"]
        self.done: list[str] = []
        self.client = Client(
            parameters["endpoint"],
            parameters["region"],
            parameters["access_key"],
            parameters["secret_key"],
            ssl.create_default_context(cafile=parameters["ca_file"]),
        )
        self.stack = ExitStack()
        self._provisioner: Client | None = None

    @property
    def provisioner(self) -> Client:
        """A client that may configure the bucket; its gateway runs from the first use until the stack is closed."""
        if self._provisioner is None:
            self._provisioner = self.stack.enter_context(temporary_gateway(self.parameters))
        return self._provisioner

    def shell(self, command: str) -> str:
        """Run one command of `weed shell`."""
        run = subprocess.run(
            [
                self.parameters["weed"],
                "shell",
                f"-master={self.parameters['masters']}",
                f"-filer={self.parameters['filer']}",
            ],
            input=command + "\n",
            cwd=self.parameters["configuration"],
            capture_output=True,
            text=True,
            timeout=3 * TIMEOUT_S,
            check=False,
        )
        if run.returncode or "error:" in run.stdout + run.stderr:
            raise ArchiveError(f"weed shell failed at `{command}`: {(run.stdout + run.stderr).strip()[-500:]}")
        return run.stdout

    def expect(self, what: str, answer: tuple[int, bytes]) -> None:
        """Raise unless a request to change something was answered with success."""
        if answer[0] not in (200, 204):
            raise ArchiveError(f"The S3 gateway answered {answer[0]} to {what}: {answer[1][:300]!r}")

    def change(self, what: str) -> bool:
        """Note a change; say whether to make it."""
        self.done.append(what)
        return not self.check_mode

    def exists(self) -> bool:
        """Say whether the bucket is there, waiting for a gateway that still starts."""
        deadline = time.monotonic() + READY_S
        while True:
            try:
                status, body = self.client.request("GET", f"/{self.bucket}?location")
            except OSError as error:
                status, body = 0, str(error).encode()
            if status in (200, 404):
                return bool(status == 200)  # noqa: PLR2004
            if status == 403:  # noqa: PLR2004
                raise ArchiveError("The S3 gateway refuses the nodes' keys: its identities.json has others.")
            if time.monotonic() > deadline:
                raise ArchiveError(f"No answer from the S3 gateway in {READY_S} s, last {status}: {body[:300]!r}")
            time.sleep(1)

    def keep(self) -> None:
        """Bring the bucket to what was asked for."""
        prefix = f"/buckets/{self.bucket}/"
        there = self.exists()
        if not there and self.parameters["holds_data"]:
            raise ArchiveError(
                f"Bucket {self.bucket} is missing, but volume servers hold volumes of it: the filers see another or an "
                "empty database. Restore it (`hapacs restore`). When there is no backup of it, `hapacs rebuild NAME "
                "--from-volumes` finds it again in the volumes. To start over on purpose, remove the volumes first."
            )
        # Before the first object: an unsynced write is not durable, whatever is configured later.
        if not syncs(self.shell("fs.configure"), prefix) and self.change("sync every write"):
            self.shell(f"fs.configure -locationPrefix={prefix} -fsync -apply")
        if not there and self.change("create the bucket"):
            headers = {"x-amz-bucket-object-lock-enabled": "true"}
            self.expect("creating the bucket", self.provisioner.request("PUT", f"/{self.bucket}", headers=headers))
        self.keep_lock(there=there)
        self.keep_policy(there=there)

    def refuses_deletion(self, settle_s: int) -> bool:
        """Say whether the gateway refuses to delete, even what is not there, for so many seconds on end."""
        until = time.monotonic() + settle_s
        while True:
            try:
                status, _ = self.client.request("DELETE", f"/{self.bucket}/nothing?versionId={NO_VERSION}")
            except OSError:
                return False
            if status != 403:  # noqa: PLR2004
                return False
            if time.monotonic() >= until:
                return True
            time.sleep(1)

    def guard(self) -> None:
        """Have the gateway refuse deletion.

        Gateways keep what they know of a bucket until its filer tells them of a change. While the masters choose a
        leader, filers let go of each other and begin to listen again later than they stopped: what changed in between
        they never hear (SeaweedFS 4.48), and neither policy nor default retention would hold at that gateway.
        """
        # Wrong keys are refused too; this distinguishes them.
        if not self.exists() and self.check_mode:
            return
        if self.refuses_deletion(self.parameters["settle_s"]):
            return
        if not self.change("restart the gateway that did not refuse deletion"):
            return
        subprocess.run(["systemctl", "restart", GATEWAY], timeout=3 * TIMEOUT_S, check=True, capture_output=True)
        deadline = time.monotonic() + READY_S
        while not self.refuses_deletion(self.parameters["settle_s"]):
            if time.monotonic() > deadline:
                raise ArchiveError(
                    f"The S3 gateway does not refuse deletion, {READY_S} s after its restart: look at "
                    f"`journalctl -u {GATEWAY}`, and whether its filer has the bucket's policy."
                )
            time.sleep(1)

    def keep_lock(self, *, there: bool) -> None:
        """Set the default retention of a bucket that was made with Object Lock."""
        mode, days = self.parameters["retention_mode"], str(self.parameters["retention_days"])
        # A bucket that was just made may not be known yet to the gateway of this node.
        status, body = self.client.request("GET", f"/{self.bucket}?object-lock") if there else (404, b"")
        now = read_lock_configuration(body) if status == 200 else {}  # noqa: PLR2004
        # A gateway that still has the identities of an earlier version does not tell: a run in check mode meets it.
        told = not (status == 403 and self.check_mode)  # noqa: PLR2004
        if there and told and now.get("ObjectLockEnabled") != "Enabled":
            raise ArchiveError(f"Bucket {self.bucket} has no Object Lock, which can't be added: use another bucket.")
        if (now.get("Mode"), now.get("Days")) != (mode, days) and self.change(f"default retention {mode} {days} days"):
            wanted = lock_configuration(mode, int(days))
            answer = self.provisioner.request("PUT", f"/{self.bucket}?object-lock", wanted)
            self.expect("the default retention", answer)

    def keep_policy(self, *, there: bool) -> None:
        """Set the policy that refuses deletion."""
        status, body = self.client.request("GET", f"/{self.bucket}?policy") if there else (404, b"")
        wanted = policy(self.bucket)
        if (status != 200 or plain(json.loads(body)) != plain(wanted)) and self.change("refuse deletion"):  # noqa: PLR2004
            answer = self.provisioner.request("PUT", f"/{self.bucket}?policy", json.dumps(wanted).encode())
            self.expect("the bucket policy", answer)


def main() -> None:
    """Run the module."""
    texts = ("endpoint", "bucket", "region")
    keeping = ("weed", "configuration", "masters", "filer", "retention_mode", "retention_days", "holds_data")
    module = AnsibleModule(
        argument_spec={
            "guard": {"type": "bool", "default": False},
            "settle_s": {"type": "int", "default": 0},
            **{name: {"type": "path"} for name in ("weed", "configuration")},
            "runtime": {"type": "path", "default": "/run"},
            **{name: {"type": "str"} for name in ("masters", "filer")},
            "ca_file": {"type": "path", "required": True},
            **{name: {"type": "str", "required": True} for name in texts},
            "access_key": {"type": "str", "required": True, "no_log": True},
            "secret_key": {"type": "str", "required": True, "no_log": True},
            "retention_mode": {"type": "str", "choices": ["GOVERNANCE", "COMPLIANCE"]},
            "retention_days": {"type": "int"},
            "holds_data": {"type": "bool"},
        },
        required_if=[("guard", False, keeping)],
        supports_check_mode=True,
    )
    try:
        archive = Archive(module.params, check_mode=module.check_mode)
        if module.params["guard"]:
            archive.guard()
        else:
            with archive.stack:
                archive.keep()
    except FileNotFoundError as error:
        if module.check_mode:
            module.exit_json(changed=True, done=[f"make the archive (nothing is installed yet: {error.filename})"])
        module.fail_json(msg=f"{error.filename} is missing: run the role's install and configure parts first.")
    except (ArchiveError, OSError, subprocess.SubprocessError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(archive.done), done=archive.done)


if __name__ == "__main__":
    main()
