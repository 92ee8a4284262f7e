"""Operations on a running site while images are stored: no acknowledged image is lost, and storing continues in time.

They run in their order in this file. With ``HAPACS_TEST_DEPLOYMENT=lab`` they use a lab that is up on this machine;
else that of the tests, which `test_lab` brings up. The deadlines are those of docs/operations.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from hapacs import rotation
from hapacs.errors import ExitCode
from hapacs.load.waiting import eventually
from hapacs.site.problems import Subject
from tests.cluster.conftest import Lab

STORING_MOVES_S = 10
DATABASE_MOVES_S = 5
DRAIN_S = 40
RESTART_S = 40
ROTATE_S = 40
NODE_LOST_S = 40
BACK_S = 150
_LIFETIME_S = 900

pytestmark = [pytest.mark.long, pytest.mark.timeout(30 * 60)]


def run(lab: Lab, verb: str, *words: str) -> str:
    """Run an operation by its command, and return its output."""
    begun = time.monotonic()
    done = lab.hapacs(verb, lab.deployment.name, *words)
    print(f"{verb} {' '.join(words)}: {time.monotonic() - begun:.0f} s")  # noqa: T201
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def status(lab: Lab) -> dict[str, Any]:
    """Return the status of the primary site, from `hapacs status`."""
    done = lab.hapacs("status", lab.deployment.name, "--json")
    found: dict[str, Any] = json.loads(done.stdout)["sites"][lab.site.name]
    return found


def leader(lab: Lab) -> str:
    return str(next(name for name, node in status(lab)["nodes"].items() if node["database"] == "leader"))


def test_storing_switches_over(lab: Lab, under_load: Callable[[float], Any]) -> None:
    with under_load(STORING_MOVES_S):
        before = status(lab)["writer"]
        target = next(name for name in lab.site.nodes if name != before)
        run(lab, "switchover", "--what", "storing", "--node", target)
    assert status(lab)["writer"] == target


def test_database_leader_switches_over(lab: Lab, under_load: Callable[[float], Any]) -> None:
    before = leader(lab)
    with under_load(DATABASE_MOVES_S):
        run(lab, "switchover", "--what", "database", "--site", lab.site.name)
    assert leader(lab) != before


def test_leading_node_is_drained_and_undrained(lab: Lab, under_load: Callable[[float], Any]) -> None:
    node = leader(lab)
    with under_load(DRAIN_S):
        assert f"{node} is drained" in run(lab, "drain", "--node", node)
        found = status(lab)
        assert found["ok"], found
        assert found["writer"] != node
        drained = found["nodes"][node]
        assert drained["drained"]
        assert not drained["virtual_address"]
        assert drained["database"] == "replica"
    other = next(name for name in lab.site.nodes if name != node)
    done = lab.hapacs("drain", lab.deployment.name, "--node", other)
    assert done.returncode == 3
    assert f"Undrain {node} first" in done.stderr
    with under_load(STORING_MOVES_S):
        run(lab, "undrain", "--node", node)
    assert not status(lab)["nodes"][node]["drained"]


def test_rolling_restart_covers_every_node(lab: Lab, under_load: Callable[[float], Any]) -> None:
    with under_load(RESTART_S):
        run(lab, "restart", "--service", "orthanc-store", "--site", lab.site.name)
    assert status(lab)["ok"]


@pytest.mark.parametrize("whose", ["its own turn", "the turn of another"])
def test_restart_with_a_lost_node_is_completed_by_the_same_command(
    lab: Lab, under_load: Callable[[float], Any], whose: str
) -> None:
    service = "orthanc-query"
    last = leader(lab)
    before = _runs(lab, service)
    words = ["restart", lab.deployment.name, "--service", service, "--site", lab.site.name]
    with under_load(NODE_LOST_S), ThreadPoolExecutor(1) as threads:
        running = threads.submit(lab.hapacs, *words)
        (first,) = eventually("the first node is restarted", lambda: _restarted(before, _runs(lab, service)), 300, 1)
        others = [name for name in lab.site.nodes if name not in {first, last}]
        victim = first if whose == "its own turn" else others[0]
        lab.switch_off(victim)
        try:
            done = running.result()
            problems = _problems(status(lab))
        finally:
            lab.switch_on(victim)
        # The images are read from every node. A node that was lost in its own turn stays paused until the command
        # runs again.
        left = {victim: [Subject.PAUSED.value]} if victim == first else {}
        eventually(f"{victim} is back by itself", lambda: _is_back(status(lab), left), BACK_S, 3)
    assert done.returncode not in {0, ExitCode.REFUSED}, done.stdout[-2000:]
    assert victim in done.stderr, done.stderr[-2000:]
    # A node that was restarted gets work again, and no further node was restarted.
    assert [name for name, found in problems.items() if Subject.PAUSED in found and name != victim] == []
    assert set(_restarted(before, _runs(lab, service))) <= {first, victim}
    run(lab, "restart", "--service", service, "--site", lab.site.name)
    after = _runs(lab, service)
    assert all(after[node] != before[node] for node in lab.site.nodes)
    found = status(lab)
    assert found["ok"], found
    assert not any(node["drained"] for node in found["nodes"].values())


def _problems(found: dict[str, Any]) -> dict[str, list[str]]:
    """Return the subjects of the problems by node; those of the whole site have no node."""
    parts = {"": found, **found["nodes"]}
    return {
        name: [problem["subject"] for problem in part["problems"]] for name, part in parts.items() if part["problems"]
    }


def _is_back(found: dict[str, Any], left: dict[str, list[str]]) -> bool:
    """Return True when there are no problems but those expected; else raise an error with all of them."""
    if found["ok"] or (left and _problems(found) == left):
        return True
    raise RuntimeError(_problems(found))


def _restarted(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return the nodes on which a service is a new process."""
    return [name for name in before if now[name] not in {before[name], "0"}]


def _runs(lab: Lab, service: str) -> dict[str, str]:
    """Return the process number of a service on each node."""
    site, words = lab.site, ["systemctl", "show", "--property=MainPID", "--value", service]
    return {name: site.run(node, words, "").strip() for name, node in site.nodes.items()}


def test_certificates_are_renewed_before_expiry(lab: Lab, under_load: Callable[[float], Any]) -> None:
    _renew(lab, renew_before_s=10**9, certificates_lifetime_s=_LIFETIME_S)
    ends = _ends(lab)
    assert max(ends) < time.time() + _LIFETIME_S
    with under_load(RESTART_S):
        run(lab, "renew")
    assert min(_ends(lab)) > time.time() + 300 * 86400
    time.sleep(max(0.0, max(ends) - time.time()))
    report = lab.verify()
    assert [check for check in report["checks"] if not check["ok"]] == []


def _renew(lab: Lab, **variables: int) -> None:
    words = [word for key, value in variables.items() for word in ("-e", f"{key}={value}")]
    deployment = lab.deployment
    command = ["ansible-playbook", "-i", str(deployment.directory), *words, "ansible/playbooks/renew.yml"]
    done = subprocess.run(command, env=deployment.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]


def _ends(lab: Lab) -> list[float]:
    found = [node["certificate"]["ends"] for node in status(lab)["nodes"].values()]
    return [datetime.fromisoformat(one).astimezone(UTC).timestamp() for one in found]


@pytest.mark.parametrize("kind", rotation.KINDS)
def test_secrets_are_rotated(lab: Lab, under_load: Callable[[float], Any], kind: str) -> None:
    with under_load(ROTATE_S):
        run(lab, "rotate", "--kind", kind)
    # On every site: secrets belong to the whole deployment.
    done = lab.hapacs("status", lab.deployment.name, "--json")
    assert json.loads(done.stdout)["ok"], done.stdout


def test_no_service_uses_former_secrets(lab: Lab) -> None:
    done = lab.hapacs("plan", lab.deployment.name, "--configuration", "--json")
    assert json.loads(done.stdout)["configuration"] == {"changed": 0, "tasks": {}, "not_asked": []}, done.stdout


def test_site_is_healthy_afterwards(lab: Lab) -> None:
    report = lab.verify()
    assert [check for check in report["checks"] if not check["ok"]] == []
