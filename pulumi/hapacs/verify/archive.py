"""Checks of the archive (CAS), directly by S3 and without the storage plugin."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from hapacs.site.access import BUCKET, Site
from hapacs.verify.report import CheckFailedError, require
from hapacs.verify.round_trip import Kept, RoundTrip

_WORKERS = 6


def check_objects(site: Site, round_trip: RoundTrip) -> str:
    """Each object is in the archive under lock, and its bytes match its digest."""
    gateways = [node.name for node in site.members("cas")]

    def look(numbered: tuple[int, Kept]) -> str:
        number, kept = numbered
        node = gateways[number % len(gateways)]
        return _object_problem(clients[node], kept, site.contract["policy"]["retention_mode"])

    found = recorded(round_trip)
    # Not in threads: boto3 loads its models with the first client, which is not thread-safe.
    clients = {node: site.s3(node, "reader") for node in gateways}
    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        problems = [problem for problem in pool.map(look, enumerate(found)) if problem]
    require(problems)
    size = sum(len(kept.content) for kept in found)
    return f"{len(found)} objects ({size / 1e6:.1f} MB) under lock; SHA-256 recomputed through {len(gateways)} gateways"


def recorded(round_trip: RoundTrip) -> list[Kept]:
    """Return the stored files that the catalog knows, one for each object."""
    found = list({kept.digest: kept for kept in round_trip.kept if row_of(kept) is not None}.values())
    if not found:
        raise CheckFailedError("the catalog has no object of this run, so none can be checked in the archive")
    return found


def row_of(kept: Kept) -> dict[str, Any] | None:
    """Return the catalog's row of a stored file."""
    rows = kept.record["catalog"] if kept.record else []
    return rows[0] if rows else None


def _object_problem(client: Any, kept: Kept, mode: str) -> str:
    row = row_of(kept)
    if row is None:
        return f"{kept.sample.name}: no row of the catalog has its place in the archive"
    key = row["key"]
    try:
        content = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        retention = client.get_object_retention(Bucket=BUCKET, Key=key)["Retention"]
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
