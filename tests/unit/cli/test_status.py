import shutil
from pathlib import Path
from typing import Any

import pytest

from hapacs.cli.status import summarise
from hapacs.site import node_facts

VIP = "10.0.0.10"
UP = {"active": True, "state": "active (running)", "restarts": 0}
FAILED = {"active": False, "state": "failed (failed)", "restarts": 3}


def answer(**changed: Any) -> dict[str, Any]:
    healthy = {
        "units": {"etcd": UP, "patroni": UP},
        "failed": [],
        "addresses": ["10.0.0.11"],
        "leads": False,
        "das": "btrfs",
        "room": {"das_bytes": 100, "das_free_bytes": 50, "cas_used_bytes": 7},
        "balancer": {"writers": ["n2"]},
    }
    return healthy | changed


def site(**changed: dict[str, Any]) -> dict[str, Any]:
    answers = {"n1": answer(addresses=["10.0.0.11", VIP]), "n2": answer(leads=True), "n3": answer()}
    return summarise(VIP, answers | changed)


def test_a_healthy_site() -> None:
    found = site()
    assert found["ok"]
    assert found["nodes"]["n1"]["virtual_address"]
    assert [state["database"] for state in found["nodes"].values()] == ["replica", "leader", "replica"]
    assert found["writer"] == "n2"
    assert found["nodes"]["n3"]["running"] == 2


@pytest.mark.parametrize(
    ("node", "bad"),
    [
        ("n3", {"error": "no answer"}),
        ("n3", answer(units={"etcd": FAILED})),
        ("n3", answer(failed=["other.service"])),
        ("n3", answer(das="")),
        ("n3", answer(leads=True)),
        ("n2", answer()),
        ("n3", answer(addresses=[VIP])),
        ("n1", answer()),
    ],
    ids=[
        "away",
        "service failed",
        "other failed",
        "no DAS",
        "two leaders",
        "no leader",
        "address twice",
        "address nowhere",
    ],
)
def test_what_is_not_well_is_said(node: str, bad: dict[str, Any]) -> None:
    assert not site(**{node: bad})["ok"]


def test_a_node_without_das_of_its_own_misses_none() -> None:
    assert site(n3=answer(das=None, room=None))["ok"]


def test_nobody_was_chosen_before_the_first_store() -> None:
    assert site(n1=answer(addresses=[VIP], balancer={"writers": []}))["writer"] is None


def test_the_node_sums_up_its_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "1.dat").write_bytes(b"x" * 8192)
    monkeypatch.setattr(node_facts, "Path", lambda _path: tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 4, 6))
    assert node_facts.room()["das_free_bytes"] == 6
    assert node_facts.room()["cas_used_bytes"] >= 8192


def test_a_drained_node_is_well_and_says_so() -> None:
    found = site(n3=answer(drained=True, balancer={"writers": ["n2"], "servers": {"store_dicom": {}}}))
    assert found["ok"]
    assert found["nodes"]["n3"]["drained"]
    assert not found["nodes"]["n2"]["drained"]


def test_a_node_that_a_balancer_gives_nothing_without_being_drained_is_a_problem() -> None:
    servers = {
        "query_dicom": {
            # Its status alone doesn't tell.
            "n3": {"status": "DOWN", "sessions": 0, "paused": True},
            "n2": {"status": "UP", "sessions": 0, "paused": False},
        }
    }
    found = site(n1=answer(addresses=["10.0.0.11", VIP], balancer={"writers": ["n2"], "servers": servers}))
    assert not found["ok"]
    assert "gets nothing" in found["nodes"]["n3"]["problems"][0]
    assert found["nodes"]["n2"]["problems"] == []


@pytest.mark.parametrize(
    ("ends", "well"), [("2020-01-01 00:00:00Z", False), ("2999-01-01 00:00:00Z", True), ("unreadable", False)]
)
def test_a_certificate_that_has_ended_is_a_problem(ends: str, well: bool) -> None:
    found = site(n3=answer(certificate={"ends": ends, "path": "/etc/etcd/tls/server.crt"}))
    assert found["ok"] == well
    assert found["nodes"]["n3"]["certificate"]["ends"] == ends


def test_the_balancers_table_is_read_by_name_or_number(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["# pxname,svname,scur,status,sid", "store_dicom,n1,3,UP,1", "store_dicom,n2,0,MAINT,2"]
    said = {
        "show stat": "\n".join([*rows, "store_dicom,BACKEND,3,UP,0"]),
        "show servers state": "1\n# be_id be_name srv_id srv_name srv_op_state srv_admin_state\n"
        "3 store_dicom 1 n1 2 0\n3 store_dicom 2 n2 0 4\n4 query_dicom 1 n1 2 0\n",
        "show table store_dicom": "# table\n0x1: key=1 use=0 exp=0 server_id=1 server_key=-\n",
    }
    monkeypatch.setattr(node_facts, "balancer_says", said.__getitem__)
    found = node_facts.balancer()
    assert found["writers"] == ["n1"]
    assert found["servers"]["store_dicom"] == {
        "n1": {"status": "UP", "sessions": 3, "paused": False},
        "n2": {"status": "MAINT", "sessions": 0, "paused": True},
    }
    said["show table store_dicom"] = "# table\n0x1: key=1 use=0 exp=0 server_id=1 server_key=n2\n"
    assert node_facts.balancer()["writers"] == ["n2"]
