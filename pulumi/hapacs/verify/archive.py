"""Checks of the archive (CAS), directly by S3 and without the storage plugin."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from hapacs.site.access import BUCKET, Site
from hapacs.verify.report import CheckFailedError, require
from hapacs.verify.round_trip import Kept, RoundTrip

_WORKERS = 6
_REFUSED = {"AccessDenied", "MethodNotAllowed"}
_NODES = "the nodes' identity"
_ADMINISTRATOR = "the administrator, with its version and past the retention"
_NOTHING, _NO_VERSION = "nothing", "0" * 32


def check_objects(site: Site, round_trip: RoundTrip) -> str:
    """Each object is in the archive under lock, and its bytes match its digest."""
    gateways = [node.name for node in site.members("cas")]

    def look(numbered: tuple[int, Kept]) -> str:
        number, kept = numbered
        node = gateways[number % len(gateways)]
        # The nodes' identity may not ask for the retention; the administrator's may.
        return _object_problem(
            site.s3(node, "node"), site.s3(node, "admin"), kept, site.contract["policy"]["retention_mode"]
        )

    recorded = _recorded(round_trip)
    _warm(site, gateways)
    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        problems = [problem for problem in pool.map(look, enumerate(recorded)) if problem]
    require(problems)
    size = sum(len(kept.content) for kept in recorded)
    return (
        f"{len(recorded)} objects ({size / 1e6:.1f} MB) under lock; SHA-256 recomputed through {len(gateways)} gateways"
    )


def check_deletion(site: Site, round_trip: RoundTrip) -> str:
    """No identity can delete an object: neither the nodes' nor the administrator's, even when it bypasses retention."""
    gateways = [node.name for node in site.members("cas")]

    def attempt(numbered: tuple[int, Kept]) -> list[str]:
        number, kept = numbered
        node = gateways[number % len(gateways)]
        return _deletion_problems(site.s3(node, "node"), site.s3(node, "admin"), kept)

    recorded = _recorded(round_trip)
    _warm(site, gateways)
    # First on an object that does not exist: a gateway that accepts this also deletes packs with patients' images.
    require([problem for name in gateways for problem in _guard_problems(name, site)])
    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        problems = [problem for problems in pool.map(attempt, enumerate(recorded)) for problem in problems]
    require(problems)
    return f"deleting {len(recorded)} objects was refused to the nodes' identity and to the administrator's"


def _recorded(round_trip: RoundTrip) -> list[Kept]:
    recorded = list({kept.digest: kept for kept in round_trip.kept if _row(kept) is not None}.values())
    if not recorded:
        raise CheckFailedError("the catalog has no object of this run, so none can be checked in the archive")
    return recorded


def _row(kept: Kept) -> dict[str, Any] | None:
    rows = kept.record["catalog"] if kept.record else []
    return rows[0] if rows else None


def _warm(site: Site, gateways: list[str]) -> None:
    """Create the clients before threads use them: boto3 then loads its models, which is not thread-safe."""
    for node in gateways:
        site.s3(node, "node")
        site.s3(node, "admin")


def _object_problem(node: Any, admin: Any, kept: Kept, mode: str) -> str:
    row = _row(kept)
    if row is None:
        return f"{kept.sample.name}: no row of the catalog has its place in the archive"
    key = row["key"]
    try:
        content = node.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        retention = admin.get_object_retention(Bucket=BUCKET, Key=key)["Retention"]
    except (ClientError, BotoCoreError) as error:
        return f"{kept.sample.name} ({key}): {error}"
    part = content[row["offset"] : row["offset"] + row["length"]]
    if hashlib.sha256(part).hexdigest() != kept.digest:
        return f"{kept.sample.name}: the object {key} has another digest"
    if retention["Mode"] != mode:
        return f"{kept.sample.name}: the object {key} has retention {retention['Mode']} instead of {mode}"
    if retention["RetainUntilDate"] <= datetime.now(UTC):
        return f"{kept.sample.name}: the lock of {key} ended at {retention['RetainUntilDate']:%Y-%m-%d %H:%M}"
    return ""


def _deletion_problems(node: Any, admin: Any, kept: Kept) -> list[str]:
    row = _row(kept)
    key = row["key"] if row else ""
    problems = []
    try:
        version = admin.head_object(Bucket=BUCKET, Key=key).get("VersionId")
    except (ClientError, BotoCoreError) as error:
        return [f"{kept.sample.name} ({key}) can't be checked: {error}"]
    if not version:
        problems.append(f"{key} has no version: the bucket is not versioned, so it has no lock")
    attempts: list[tuple[str, Callable[[], object]]] = [
        (_NODES, lambda: node.delete_object(Bucket=BUCKET, Key=key)),
        (_ADMINISTRATOR, lambda: _delete_for_good(admin, key, version or "null")),
    ]
    return problems + _not_refused(key, attempts)


def _guard_problems(name: str, site: Site) -> list[str]:
    """Ask one gateway to delete an object that does not exist."""
    node, admin = site.s3(name, "node"), site.s3(name, "admin")
    attempts: list[tuple[str, Callable[[], object]]] = [
        (_NODES, lambda: node.delete_object(Bucket=BUCKET, Key=_NOTHING, VersionId=_NO_VERSION)),
        (_ADMINISTRATOR, lambda: _delete_for_good(admin, _NOTHING, _NO_VERSION)),
    ]
    return [f"the gateway of {name}: {problem}; `hapacs up` repairs it" for problem in _not_refused(_NOTHING, attempts)]


def _delete_for_good(admin: Any, key: str, version: str) -> None:
    admin.delete_object(Bucket=BUCKET, Key=key, VersionId=version, BypassGovernanceRetention=True)


def _not_refused(key: str, attempts: list[tuple[str, Callable[[], object]]]) -> list[str]:
    problems = []
    for who, delete in attempts:
        try:
            delete()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code not in _REFUSED:
                problems.append(f"deleting {key} by {who} ended with {code} instead of a refusal")
        except BotoCoreError as error:
            problems.append(f"deleting {key} by {who} was not answered: {error}")
        else:
            problems.append(f"{key} was deleted by {who}")
    return problems
