"""The configuration of the service, and which lock is enough for a commitment."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hapacs_node.commitment.copies import lock_problem
from hapacs_node.commitment.settings import Address, CommitmentSettings
from hapacs_node.errors import ConfigurationError
from hapacs_node.storage.client import Lock

NOW = datetime(2026, 11, 29, tzinfo=UTC)
LATER, BEFORE = "2026-11-30T00:00:00Z", "2026-11-28T00:00:00Z"


@pytest.fixture
def document() -> dict[str, Any]:
    return {
        "listen": {"host": "192.0.2.11", "port": 4244},
        "store": {"host": "192.0.2.11", "port": 4242},
        "metrics_port": 9331,
        "callers": [
            {"ae_title": "CT1", "networks": ["192.0.2.0/24"], "may": ["store"], "host": "192.0.2.40", "port": 104},
            {"ae_title": "CT2", "networks": ["192.0.2.0/24"], "may": ["store"]},
        ],
        "archive": {
            "members": [
                {"name": f"cas{number}", "address": f"192.0.2.2{number}", "zone": zone}
                for number, zone in ((1, "r1"), (2, "r1"), (3, "r2"))
            ],
            "filer_port": 8888,
            "volume_port": 8080,
            "replication": "010",
            "mode": "COMPLIANCE",
            "retention_days": 3650,
        },
    }


def loaded(document: dict[str, Any], directory: Path) -> CommitmentSettings:
    file = directory / "commitment.json"
    file.write_text(json.dumps(document))
    return CommitmentSettings.load(file)


def test_callers_of_the_site_are_known_by_their_address(document: dict[str, Any], tmp_path: Path) -> None:
    settings = loaded(document, tmp_path)
    assert settings.address("CT1") == Address(host="192.0.2.40", port=104)
    assert settings.address("CT2") is None
    assert settings.address("CT3") is None


@pytest.mark.parametrize(
    ("replication", "copies", "zones"), [("000", 1, 1), ("001", 2, 1), ("010", 2, 2), ("011", 3, 2)]
)
def test_replication_says_how_many_copies_in_how_many_racks(
    document: dict[str, Any], tmp_path: Path, replication: str, copies: int, zones: int
) -> None:
    document["archive"]["replication"] = replication
    archive = loaded(document, tmp_path).archive
    assert (archive.copies, archive.zones) == (copies, zones)
    assert archive.zones_of({"cas1", "cas2"}) == {"r1"}


@pytest.mark.parametrize(
    ("replication", "problem"), [("020", "too few for the replication 020"), ("two", "archive.replication")]
)
def test_replication_that_the_nodes_can_not_hold_is_refused(
    document: dict[str, Any], tmp_path: Path, replication: str, problem: str
) -> None:
    document["archive"]["replication"] = replication
    with pytest.raises(ConfigurationError, match=problem):
        loaded(document, tmp_path)


def test_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="run `hapacs up`"):
        CommitmentSettings.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("lock", "problem"),
    [
        (Lock("COMPLIANCE", LATER, "v1"), ""),
        (Lock(None, None, "v1"), "its object is not locked"),
        (Lock("GOVERNANCE", LATER, "v1"), "its object has the lock GOVERNANCE instead of COMPLIANCE"),
        (Lock("COMPLIANCE", LATER, None), "its object has no version"),
        (Lock("COMPLIANCE", BEFORE, "v1"), "the lock of its object has ended"),
    ],
)
def test_only_a_lock_of_the_site_that_has_not_ended_is_enough(lock: Lock, problem: str) -> None:
    assert lock_problem(lock, "COMPLIANCE", NOW) == problem
