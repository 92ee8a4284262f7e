"""The identities that a gateway knows, as the role's template writes them."""

from __future__ import annotations

import json

from tests.support.archive_identities import identities


def allowed(name: str) -> set[tuple[str, str]]:
    (content,) = [policy["content"] for policy in identities()["policies"] if policy["name"] == name]
    statements = json.loads(content)["Statement"]
    assert {statement["Effect"] for statement in statements} == {"Allow"}
    return {(action, place) for one in statements for action in one["Action"] for place in one["Resource"]}


READS = {
    ("s3:GetObject", "arn:aws:s3:::archive/*"),
    ("s3:GetObjectVersion", "arn:aws:s3:::archive/*"),
    ("s3:GetObjectRetention", "arn:aws:s3:::archive/*"),
    ("s3:ListBucket", "arn:aws:s3:::archive"),
}


def test_no_identity_is_an_administrator() -> None:
    found = identities()["identities"]
    assert [(identity["name"], identity["policyNames"]) for identity in found] == [
        ("node", ["node"]),
        ("reader", ["reader"]),
    ]
    # Actions in weed's own words allow more than they say: `Write` includes lifecycle rules and multi-delete.
    assert not [identity for identity in found if "actions" in identity]


def test_answering_services_may_only_read() -> None:
    assert allowed("reader") == READS


def test_storing_services_may_write_and_delete_nothing_but_the_name_of_no_object() -> None:
    writes = allowed("node") - READS
    assert {place for action, place in writes if "Delete" in action} == {"arn:aws:s3:::archive/nothing"}
    assert {action for action, _ in writes if "Put" in action} == {"s3:PutObject"}


def test_former_keys_are_accepted_during_a_rotation() -> None:
    node, reader = identities()["identities"]
    assert [key["accessKey"] for key in node["credentials"]] == ["node", "old"]
    assert [key["accessKey"] for key in reader["credentials"]] == ["reader"]
