"""Checks that the keys on the nodes delete nothing in the archive (CAS) and change no setting of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from hapacs.site.access import BUCKET, Identity, Site
from hapacs.verify.archive import recorded, row_of
from hapacs.verify.report import require
from hapacs.verify.round_trip import Kept, RoundTrip

_WORKERS = 6
_REFUSED = {"AccessDenied", "MethodNotAllowed"}
_THERE = {"PreconditionFailed", "412"}
IDENTITIES: Mapping[Identity, str] = {
    "node": "the storing services' keys",
    "reader": "the answering services' keys",
}
# An object that does not exist. A gateway that deletes it would also delete packs with patients' images.
_NOTHING, _NO_VERSION = "nothing", "0" * 32
# An object of these checks. It stays under lock, so there is one for all runs.
_OWN = "verify/refusals"


@dataclass(frozen=True)
class Attempt:
    """A request that has to be refused.

    Attributes
    ----------
    what
        What it would do.
    who
        Whose keys sign it.
    """

    what: str
    who: str
    request: Callable[[], Any]


def check_deletion(site: Site, round_trip: RoundTrip) -> str:
    """No key of a node deletes an object, not even past the retention."""
    gateways = [node.name for node in site.members("cas")]
    clients = _clients(site)
    kept = recorded(round_trip)
    require([problem for name in gateways for problem in _guard_problems(name, clients[name])])

    def attempt(numbered: tuple[int, Kept]) -> list[str]:
        number, one = numbered
        return _deletion_problems(clients[gateways[number % len(gateways)]], one)

    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        require([problem for problems in pool.map(attempt, enumerate(kept)) for problem in problems])
    return f"deleting {len(kept)} objects was refused to both kinds of keys"


def check_changes(site: Site) -> str:
    """No key of a node deletes several objects at once, or changes lifecycle, policy, lock or access of the bucket."""
    clients = _clients(site)
    problems = [problem for name, found in clients.items() for problem in _guard_problems(name, found)]
    require(problems)

    def attempt(name: str) -> tuple[int, list[str]]:
        try:
            attempts = _changes(clients[name])
        except (ClientError, BotoCoreError) as error:
            return 0, [f"the gateway of {name} can't be checked: {error}"]
        return len(attempts), [f"the gateway of {name}: {problem}" for problem in _not_refused(attempts)]

    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        results = list(pool.map(attempt, clients))
    require([problem for _, found in results for problem in found])
    return f"{sum(tried for tried, _ in results)} requests were refused at {len(clients)} gateways"


def _clients(site: Site) -> dict[str, dict[Identity, Any]]:
    # Not in threads: boto3 loads its models with the first client, which is not thread-safe.
    return {node.name: {name: site.s3(node.name, name) for name in IDENTITIES} for node in site.members("cas")}


def _guard_problems(name: str, clients: Mapping[Identity, Any]) -> list[str]:
    """Ask one gateway to delete an object that does not exist, in each way there is."""
    attempts = [
        attempt
        for identity, client in clients.items()
        for attempt in (
            *_deletions(IDENTITIES[identity], client, _NOTHING, _NO_VERSION),
            *_multi_deletions(IDENTITIES[identity], client, _NOTHING, _NO_VERSION),
        )
    ]
    return [f"the gateway of {name}: {problem}; `hapacs up` repairs it" for problem in _not_refused(attempts)]


def _deletion_problems(clients: Mapping[Identity, Any], kept: Kept) -> list[str]:
    row = row_of(kept)
    key = row["key"] if row else ""
    try:
        version = clients["reader"].head_object(Bucket=BUCKET, Key=key).get("VersionId")
    except (ClientError, BotoCoreError) as error:
        return [f"{kept.sample.name} ({key}) can't be checked: {error}"]
    problems = [] if version else [f"{key} has no version: the bucket is not versioned, so it has no lock"]
    attempts = [
        attempt
        for identity, client in clients.items()
        for attempt in _deletions(IDENTITIES[identity], client, key, version or "null")
    ]
    return problems + _not_refused(attempts)


def _changes(clients: Mapping[Identity, Any]) -> list[Attempt]:
    """Return the requests to refuse. One that succeeds sets what is set already, or concerns the own object only."""
    node = clients["node"]
    try:
        node.put_object(Bucket=BUCKET, Key=_OWN, Body=b"an object of `hapacs verify`", IfNoneMatch="*")
    except ClientError as error:
        if error.response["Error"]["Code"] not in _THERE:
            raise
    version = node.head_object(Bucket=BUCKET, Key=_OWN)["VersionId"]
    policy = node.get_bucket_policy(Bucket=BUCKET)["Policy"]
    lock = node.get_object_lock_configuration(Bucket=BUCKET)["ObjectLockConfiguration"]
    return [
        attempt
        for identity, client in clients.items()
        for attempt in (
            *_multi_deletions(IDENTITIES[identity], client, _OWN, version),
            *_settings(IDENTITIES[identity], client, policy, lock),
            *_of_object(IDENTITIES[identity], client, version),
        )
    ]


def _deletions(who: str, client: Any, key: str, version: str) -> list[Attempt]:
    return [
        Attempt(f"deleting {key}", who, lambda: client.delete_object(Bucket=BUCKET, Key=key)),
        Attempt(
            f"deleting a version of {key} past its retention",
            who,
            lambda: client.delete_object(Bucket=BUCKET, Key=key, VersionId=version, BypassGovernanceRetention=True),
        ),
    ]


def _multi_deletions(who: str, client: Any, key: str, version: str) -> list[Attempt]:
    def delete(**which: str) -> Any:
        objects = {"Objects": [{"Key": key, **which}]}
        answer = client.delete_objects(Bucket=BUCKET, Delete=objects, BypassGovernanceRetention=True)
        # The request itself succeeds; each object has an answer of its own.
        for error in answer.get("Errors", []):
            raise ClientError({"Error": error}, "DeleteObjects")
        return answer

    return [
        Attempt(f"a multi-delete of {key}", who, delete),
        Attempt(f"a multi-delete of a version of {key} past its retention", who, lambda: delete(VersionId=version)),
    ]


def _settings(who: str, client: Any, policy: str, lock: dict[str, Any]) -> list[Attempt]:
    # Disabled: it expires nothing, should a gateway accept it.
    rule = {"ID": "verify", "Status": "Disabled", "Filter": {"Prefix": _OWN}, "Expiration": {"Days": 36500}}
    lifecycle, versioning = {"Rules": [rule]}, {"Status": "Enabled"}
    policy = json.dumps(json.loads(policy))
    return [
        Attempt(
            "a lifecycle rule",
            who,
            lambda: client.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration=lifecycle),
        ),
        Attempt("a bucket policy", who, lambda: client.put_bucket_policy(Bucket=BUCKET, Policy=policy)),
        Attempt(
            "a default lock",
            who,
            lambda: client.put_object_lock_configuration(Bucket=BUCKET, ObjectLockConfiguration=lock),
        ),
        Attempt("an ACL of the bucket", who, lambda: client.put_bucket_acl(Bucket=BUCKET, ACL="private")),
        Attempt(
            "a change of versioning",
            who,
            lambda: client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=versioning),
        ),
    ]


def _of_object(who: str, client: Any, version: str) -> list[Attempt]:
    own = {"Bucket": BUCKET, "Key": _OWN, "VersionId": version}
    shorter = {"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(minutes=1)}
    return [
        Attempt("an ACL of an object", who, lambda: client.put_object_acl(**own, ACL="private")),
        Attempt(
            "a shorter retention",
            who,
            lambda: client.put_object_retention(**own, Retention=shorter, BypassGovernanceRetention=True),
        ),
        Attempt("a legal hold", who, lambda: client.put_object_legal_hold(**own, LegalHold={"Status": "OFF"})),
    ]


def _not_refused(attempts: Iterable[Attempt]) -> list[str]:
    problems = []
    for attempt in attempts:
        try:
            attempt.request()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code not in _REFUSED:
                problems.append(f"{attempt.what} with {attempt.who} ended with {code} instead of a refusal")
        except BotoCoreError as error:
            problems.append(f"{attempt.what} with {attempt.who} was not answered: {error}")
        else:
            problems.append(f"{attempt.what} with {attempt.who} succeeded")
    return problems
