"""The life of a lab: up, verify, second up, loss of a node, loss of the database leader, down.

The tests run in their order in this file. The deadlines are those that the documents promise.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from hapacs.load.check import check
from hapacs.load.ledger import Ledger
from hapacs.load.plan import Plan, sender
from hapacs.load.waiting import eventually
from hapacs.site.running import RunningSite
from hapacs.verify import services
from tests.cluster import leftovers
from tests.cluster.conftest import Lab

NODE_LOST_S = 10
LEADER_LOST_S = 30
BACK_S = 150
_WARM_UP_S = 6
_AFTER_S = 10
_LOAD = Plan(shares={"ct": 1}, ct_rows=256, timeout_s=5)
_RECAP = re.compile(r"^\s*(\S+)\s+: (ok=\d+ .*)$", re.MULTILINE)

pytestmark = pytest.mark.timeout(50 * 60)


def test_up_brings_the_lab_up_and_verifies_it(lab: Lab) -> None:
    done = lab.hapacs("up", lab.deployment.name)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"


def test_verify_passes_for_each_site(lab: Lab) -> None:
    report = lab.verify()
    assert [check for check in report["checks"] if not check["ok"]] == []
    assert report["ok"]
    assert {check["name"].partition(": ")[0] for check in report["checks"]} == {"primary", "dr"}
    assert set(report) == {"ok", "checks"}
    assert all(set(check) == {"name", "ok", "detail"} for check in report["checks"])


def test_a_second_up_changes_nothing(lab: Lab) -> None:
    done = lab.hapacs("up", lab.deployment.name)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    recap = {host: dict(pair.split("=") for pair in counts.split()) for host, counts in _RECAP.findall(done.stdout)}
    assert set(recap) == lab.nodes, f"the recap does not show every node:\n{done.stdout[-4000:]}"
    assert {host: counts["changed"] for host, counts in recap.items()} == dict.fromkeys(recap, "0")


def test_check_mode_reports_no_change(lab: Lab) -> None:
    done = lab.hapacs("plan", lab.deployment.name, "--configuration", "--json")
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    foretold = json.loads(done.stdout)
    assert (foretold["changes"], foretold["settings"]) == ([], [])
    assert foretold["configuration"] == {"changed": 0, "tasks": {}, "not_asked": []}


def test_storing_continues_when_a_replica_node_loses_power(lab: Lab, tmp_path: Path) -> None:
    running = lab.running()
    leader = _database_leader(running)
    # The loss of the node that stores and holds the address interrupts most; the database leader has its own test.
    victim = next(node for node in (*running.writers, *running.holders, *running.nodes) if node != leader)
    _lose(lab, victim, NODE_LOST_S, tmp_path)


def test_storing_continues_when_the_database_leader_is_killed(lab: Lab, tmp_path: Path) -> None:
    _lose(lab, _database_leader(lab.running()), LEADER_LOST_S, tmp_path)


def test_lab_verifies_after_the_faults(lab: Lab) -> None:
    report = lab.verify()
    assert [check for check in report["checks"] if not check["ok"]] == []


def test_down_removes_everything(lab: Lab) -> None:
    there = leftovers.of(lab.deployment)
    assert there["containers"], "the lab has no container, so it can't be seen that `down` removes them"
    assert there["loop devices"], "the lab has no loop device, so it can't be seen that `down` removes them"
    done = lab.hapacs("down", lab.deployment.name, "--yes")
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    assert {kind: found for kind, found in leftovers.of(lab.deployment).items() if found} == {}


def _database_leader(running: RunningSite) -> str:
    assert not running.silent, "every node has to answer before a fault"
    (leader,) = running.database_leaders
    return leader


def _lose(lab: Lab, victim: str, deadline_s: float, directory: Path) -> None:
    """Cut a node's power while images are stored, and check the deadline and every acknowledged image."""
    site = lab.site
    ledger = Ledger(directory / "ledger.sqlite")
    try:
        with sender(site, ledger, _LOAD):
            time.sleep(_WARM_UP_S)
            before = ledger.counts()["acknowledged"]
            assert before, f"no image is stored before the fault: {ledger.reasons()[-3:]}"
            moment = time.time()
            lab.switch_off(victim)
            # Stores that were sent before the node was off don't count.
            dead = time.time()
            eventually(
                f"a store is accepted after {victim} lost power",
                lambda: ledger.first_after(dead),
                4 * deadline_s,
                0.2,
            )
            time.sleep(_AFTER_S)
            until = time.time()
        gap = ledger.longest_gap(moment, until)
        failures = ledger.reasons()[:40]
        accepted = ledger.first_after(dead)
        assert accepted is not None
        waited = accepted.acknowledged_at - moment
        assert waited <= deadline_s, f"the first store was accepted after {waited:.1f} s: {failures}"
        assert gap <= deadline_s, f"for {gap:.1f} s no store was accepted: {failures}"
        survivors = [node for node in site.nodes if node != victim]
        assert check(site, ledger, survivors).problems == []
        lab.switch_on(victim)
        eventually(f"{victim} is back by itself, with all its services", lambda: _whole(lab), BACK_S, 3)
        assert check(lab.site, ledger).problems == []
    finally:
        lab.switch_on(victim)
        ledger.close()


def _whole(lab: Lab) -> bool:
    """Return whether all services of all nodes work, by the checks of `hapacs verify`."""
    running = lab.running()
    try:
        services.check_services(lab.site, running)
        services.check_etcd(running)
        services.check_database(running)
    except Exception as error:
        raise RuntimeError(str(error)) from error
    return True
