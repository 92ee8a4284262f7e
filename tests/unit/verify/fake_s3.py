"""S3 clients of a site that refuse what they should, and can be made to allow it."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from hapacs.site.access import Node


class FakeS3:
    """The client of one identity. What is in `allowed` succeeds; the rest is refused with `error`."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.mode = "GOVERNANCE"
        self.until = datetime.now(UTC) + timedelta(days=1)
        self.error = "AccessDenied"
        self.allowed: set[str] = set()
        self.version: str | None = "v1"
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def get_object(self, **_: str) -> dict[str, Any]:
        return {"Body": io.BytesIO(self.content)}

    def head_object(self, **_: str) -> dict[str, Any]:
        return {"VersionId": self.version} if self.version else {}

    def get_object_retention(self, **_: str) -> dict[str, Any]:
        return {"Retention": {"Mode": self.mode, "RetainUntilDate": self.until}}

    def get_bucket_policy(self, **_: str) -> dict[str, Any]:
        return {"Policy": "{}"}

    def get_object_lock_configuration(self, **_: str) -> dict[str, Any]:
        return {"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled"}}

    def put_object(self, **words: Any) -> None:
        assert words["IfNoneMatch"] == "*"
        raise ClientError({"Error": {"Code": "PreconditionFailed"}}, "PutObject")

    def delete_objects(self, **words: Any) -> dict[str, Any]:
        """The request itself succeeds; refusals are in its answer, as S3 has it."""
        self.asked.append(("delete_objects", words))
        assert words["BypassGovernanceRetention"] is True
        return {} if "delete_objects" in self.allowed else {"Errors": [{"Code": self.error}]}

    def __getattr__(self, name: str) -> Callable[..., None]:
        def change(**words: Any) -> None:
            self.asked.append((name, words))
            if name not in self.allowed and f"{name} {words.get('Key')}" not in self.allowed:
                raise ClientError({"Error": {"Code": self.error}}, name)

        return change


class FakeSite:
    contract = {"policy": {"retention_mode": "GOVERNANCE"}}  # noqa: RUF012 - nobody changes it

    def __init__(self, clients: dict[str, FakeS3]) -> None:
        self.clients = clients

    def members(self, _group: str) -> list[Node]:
        return [Node("pacs1", "", "", "", 22)]

    def s3(self, _node: str, identity: str) -> FakeS3:
        return self.clients[identity]
