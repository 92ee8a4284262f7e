import copy
from typing import Any

import pytest

from hapacs import node_status
from hapacs.cli.status import summarise

VIP = "10.0.0.10"


def answer(**changed: Any) -> dict[str, Any]:
    healthy = {
        "services": {"etcd": "active", "patroni": "active"},
        "addresses": ["10.0.0.11"],
        "database": "replica",
        "das": {"total_bytes": 100, "free_bytes": 50},
        "data": None,
        "cas_used_bytes": 0,
        "balancer": [
            {"pxname": "dicom-store", "svname": "n2", "status": "UP", "act": "1", "bck": "0"},
            {"pxname": "dicom-store", "svname": "n1", "status": "UP", "act": "0", "bck": "1"},
            {"pxname": "dicom-query", "svname": "n1", "status": "UP", "act": "1", "bck": "0"},
        ],
    }
    return copy.deepcopy(healthy) | changed


def site(**changed: dict[str, Any]) -> dict[str, Any]:
    answers = {"n1": answer(addresses=["10.0.0.11", VIP]), "n2": answer(database="leader"), "n3": answer()}
    return summarise(VIP, answers | changed, list(answers))


def test_a_healthy_site():
    found = site()
    assert found["ok"]
    assert found["vip"]["nodes"] == ["n1"]
    assert found["database_leaders"] == ["n2"]
    assert found["writer"] == "n2"


@pytest.mark.parametrize(
    ("node", "bad"),
    [
        ("n3", {"error": "no answer"}),
        ("n3", answer(services={"etcd": "failed"})),
        ("n3", answer(das=None)),
        ("n3", answer(database="leader")),
        ("n2", answer()),
        ("n3", answer(addresses=[VIP])),
        ("n1", answer()),
    ],
    ids=[
        "node away",
        "service failed",
        "DAS not mounted",
        "two leaders",
        "no leader",
        "address twice",
        "address nowhere",
    ],
)
def test_what_is_not_well_is_said(node: str, bad: dict[str, Any]):
    assert not site(**{node: bad})["ok"]


def test_the_hot_spare_is_the_writer_when_the_first_is_down():
    seen = answer()["balancer"]
    seen[0]["status"] = "DOWN"
    assert site(n1=answer(addresses=[VIP], balancer=seen))["writer"] == "n1"


def test_the_node_sums_up_files_that_come_and_go(tmp_path):
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "1.dat").write_bytes(b"x" * 8192)
    assert node_status.used_bytes(str(tmp_path)) >= 8192
    assert node_status.used_bytes(str(tmp_path / "nowhere")) == 0
