"""Operations on a running site, each while images are stored: nothing acknowledged is lost, and stores go on in time.

They run in the order in which they stand. With ``HAPACS_TEST_DEPLOYMENT=lab`` they use a lab that stands here; else
that of the tests, which `test_lab` brings up. The deadlines are what docs/operations promises.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hapacs.deployment import Deployment
from hapacs.dicom import Peer
from tests.cluster.conftest import Lab
from tests.support.archive import SiteArchive
from tests.support.ledger import Ledger, Sender, missing
from tests.support.waiting import eventually

STORING_MOVES_S = 10
DATABASE_MOVES_S = 40
DRAIN_S = 40
RESTART_S = 40
ROTATE_S = 40
_WARM_UP_S = 4
_AFTER_S = 5
_SENDER_TIMEOUT_S = 60
_LIFETIME_S = 900

pytestmark = pytest.mark.timeout(30 * 60)


@pytest.fixture(scope="module")
def standing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Give the lab: the tests' own, or one that stands here."""
    if name := os.environ.get("HAPACS_TEST_DEPLOYMENT"):
        return Lab(Deployment.load(name), tmp_path_factory.mktemp("artifacts"))
    found: Lab = request.getfixturevalue("lab")
    return found


@pytest.fixture
def under_load(standing: Lab, tmp_path: Path) -> Callable[[float], Any]:
    """Give a context in which images are stored: at its end each is there, and none waited longer than it may."""

    @contextmanager
    def storing(longest_s: float) -> Generator[None]:
        site, ledger = standing.site, Ledger(tmp_path / "ledger.sqlite")
        peer = Peer(site.store_peer.host, site.store_peer.port, site.store_peer.ae_title, _SENDER_TIMEOUT_S)
        try:
            with Sender(site.caller, peer, ledger) as sender:
                eventually("an image is stored", ledger.entries, 60)
                time.sleep(_WARM_UP_S)
                begun = time.time()
                yield
                time.sleep(_AFTER_S)
                ended = time.time()
            gap, entries = ledger.longest_gap(begun, ended), ledger.entries()
            told = (
                f"longest gap {gap:.1f} s, {len(entries)} stored in {ended - begun:.0f} s, {len(sender.failures)} cut"
            )
            print(told, [(round(at - begun, 1), why[:90]) for at, why in sender.failures[:6]])  # noqa: T201
            assert missing(entries, SiteArchive(site, list(site.nodes))) == []
            assert gap <= longest_s, f"{told}: {sender.failures[:5]}"
        finally:
            ledger.close()

    return storing


def run(lab: Lab, verb: str, *words: str) -> str:
    """Run a verb as an operator does, and return what it says."""
    begun = time.monotonic()
    done = lab.hapacs(verb, lab.deployment.name, *words)
    print(f"{verb} {' '.join(words)}: {time.monotonic() - begun:.0f} s")  # noqa: T201
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def status(lab: Lab) -> dict[str, Any]:
    """Return what `hapacs status` says of the primary site."""
    done = lab.hapacs("status", lab.deployment.name, "--json")
    found: dict[str, Any] = json.loads(done.stdout)["sites"][lab.site.name]
    return found


def leader(lab: Lab) -> str:
    return next(name for name, node in status(lab)["nodes"].items() if node["database"] == "leader")


def test_another_node_stores(standing: Lab, under_load: Callable[[float], Any]) -> None:
    with under_load(STORING_MOVES_S):
        before = status(standing)["writer"]
        target = next(name for name in standing.site.nodes if name != before)
        run(standing, "switchover", "--what", "storing", "--node", target)
    assert status(standing)["writer"] == target


def test_another_node_leads_the_database(standing: Lab, under_load: Callable[[float], Any]) -> None:
    before = leader(standing)
    with under_load(DATABASE_MOVES_S):
        run(standing, "switchover", "--what", "database", "--site", standing.site.name)
    assert leader(standing) != before


def test_the_node_on_which_most_depends_is_drained_and_comes_back(
    standing: Lab, under_load: Callable[[float], Any]
) -> None:
    node = leader(standing)
    with under_load(DRAIN_S):
        assert f"{node} is drained" in run(standing, "drain", "--node", node)
        found = status(standing)
        assert found["ok"], found
        assert found["writer"] != node
        drained = found["nodes"][node]
        assert drained["drained"]
        assert not drained["virtual_address"]
        assert drained["database"] == "replica"
    other = next(name for name in standing.site.nodes if name != node)
    done = standing.hapacs("drain", standing.deployment.name, "--node", other)
    assert done.returncode == 3
    assert f"Undrain {node} first" in done.stderr
    with under_load(STORING_MOVES_S):
        run(standing, "undrain", "--node", node)
    assert not status(standing)["nodes"][node]["drained"]


def test_a_service_is_restarted_everywhere(standing: Lab, under_load: Callable[[float], Any]) -> None:
    with under_load(RESTART_S):
        run(standing, "restart", "--service", "orthanc-store", "--site", standing.site.name)
    assert status(standing)["ok"]


def test_certificates_are_renewed_before_they_end(standing: Lab, under_load: Callable[[float], Any]) -> None:
    _renew(standing, renew_before_s=10**9, certificates_lifetime_s=_LIFETIME_S)
    ends = _ends(standing)
    assert max(ends) < time.time() + _LIFETIME_S
    with under_load(RESTART_S):
        run(standing, "renew")
    assert min(_ends(standing)) > time.time() + 300 * 86400
    time.sleep(max(0.0, max(ends) - time.time()))
    report = standing.verify()
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


@pytest.mark.parametrize("kind", ["pacs", "database", "archive-node", "cas", "archive-tokens", "statistics", "pki"])
def test_secrets_are_rotated(standing: Lab, under_load: Callable[[float], Any], kind: str) -> None:
    with under_load(ROTATE_S):
        run(standing, "rotate", "--kind", kind)
    assert status(standing)["ok"]


def test_all_is_well_afterwards(standing: Lab) -> None:
    report = standing.verify()
    assert [check for check in report["checks"] if not check["ok"]] == []
