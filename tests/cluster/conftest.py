"""The lab that the cluster tests share: the first test brings it up, the last one takes it down."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hapacs.deployment import PROJECT, Deployment
from hapacs.load.check import check
from hapacs.load.ledger import Ledger
from hapacs.load.plan import Plan, sender
from hapacs.load.waiting import eventually
from hapacs.site.access import Site, sites
from hapacs.site.collect import collect
from hapacs.site.running import RunningSite
from hapacs.targets.lab import power
from tests.cluster import trial

_COMMAND_TIMEOUT_S = 45 * 60
_WARM_UP_S = 4
_AFTER_S = 5
_LOAD = Plan(shares={"ct": 1}, ct_rows=256)
"""Two associations that store small images."""


@dataclass
class Lab:
    """The lab, its nodes, and the command line.

    Attributes
    ----------
    artifacts
        Directory of the logs of a failure.
    """

    deployment: Deployment
    artifacts: Path

    def hapacs(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``hapacs`` as an operator does."""
        command = [str(Path(sys.executable).parent / "hapacs"), *words]
        done = subprocess.run(
            command, cwd=PROJECT, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S,
            env={**os.environ, "COLUMNS": "200"}, check=False,
        )  # fmt: skip
        log = self.artifacts / f"{time.strftime('%H%M%S')}-hapacs-{words[0]}.log"
        log.write_text(f"$ hapacs {' '.join(words)}\n{done.stdout}\n{done.stderr}\n", encoding="utf-8")
        return done

    @property
    def site(self) -> Site:
        """A new `Site` of the lab's primary site, on which the faults are tried."""
        return self.sites[0]

    @property
    def sites(self) -> list[Site]:
        """New `Site` objects of all sites, the primary one first."""
        return sites(self.deployment)

    @property
    def nodes(self) -> set[str]:
        """The names of the nodes of all sites."""
        return {node for one in self.sites for node in one.nodes}

    def running(self) -> RunningSite:
        """Collect the facts of the primary site now."""
        return collect(self.site)

    def container(self, node: str) -> str:
        """Return the container that is a node."""
        return f"{self.deployment.name}-{node}"

    def switch_off(self, node: str) -> None:
        """Cut a node's power, and return when it is dead."""
        power.power_off(self.container(node))
        eventually(f"{node} is off", lambda: not power.is_on(self.container(node)), 10, 0.05)

    def switch_on(self, node: str) -> None:
        """Switch a node on, if it is off."""
        if not power.is_on(self.container(node)):
            power.power_on(self.container(node), self.deployment.ssh_key.parent)

    def verify(self, *only: str) -> dict[str, Any]:
        """Run ``hapacs verify`` and return its JSON."""
        words = [word for name in only for word in ("--only", name)]
        done = self.hapacs("verify", self.deployment.name, "--json", *words)
        report: dict[str, Any] = json.loads(done.stdout)
        assert (done.returncode == 0) == report["ok"], "the exit code contradicts the report"
        return report


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Generator[Lab]:
    """Return the lab of the tests; the first test brings it up."""
    given = os.environ.get("HAPACS_TEST_ARTIFACTS")
    artifacts = Path(given) if given else tmp_path_factory.mktemp("artifacts")
    artifacts.mkdir(parents=True, exist_ok=True)
    if standing := os.environ.get("HAPACS_TEST_DEPLOYMENT"):
        # Only tests that leave a site unchanged may use a lab that is already up.
        yield Lab(Deployment.load(standing), artifacts)
        return
    deployment = trial.write()
    yield Lab(deployment, artifacts)
    trial.forget(deployment)


@pytest.fixture
def under_load(lab: Lab, tmp_path: Path) -> Callable[[float], Any]:
    """Return a context that stores images and checks that none is lost or waits longer than allowed."""

    @contextmanager
    def storing(longest_s: float) -> Generator[None]:
        site, ledger = lab.site, Ledger(tmp_path / "ledger.sqlite")
        try:
            with sender(site, ledger, _LOAD):
                eventually("an image is stored", lambda: ledger.counts()["acknowledged"], 60)
                time.sleep(_WARM_UP_S)
                begun = time.time()
                yield
                time.sleep(_AFTER_S)
                ended = time.time()
            gap, failures = ledger.longest_gap(begun, ended), ledger.reasons()
            stored = ledger.counts()["acknowledged"]
            summary = f"longest gap {gap:.1f} s, {stored} stored in {ended - begun:.0f} s, {len(failures)} cut"
            print(summary, [(round(at - begun, 1), why[:90]) for at, why in failures[:6]])  # noqa: T201
            assert check(site, ledger).problems == []
            assert gap <= longest_s, f"{summary}: {failures[:5]}"
        finally:
            ledger.close()

    return storing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of hostile input before the tests that switch nodes off, and `test_down` last."""
    places = [number for number, item in enumerate(items) if item.path.parent == Path(__file__).parent]
    # Sorting is stable: within a group the tests keep their order.
    ordered = sorted((items[place] for place in places), key=_turn)
    for place, item in zip(places, ordered, strict=True):
        items[place] = item


def _turn(item: pytest.Item) -> int:
    if item.name.startswith("test_down"):
        return 4
    if item.path.stem in {"test_drills", "test_exhaustion", "test_input"}:
        return 1
    if item.path.stem in {"test_operations", "test_retrieval", "test_split"}:
        return 3
    after = ("test_drill_loses_nothing", "test_each_site_verifies_after_the_faults")
    among = item.path.stem in {"test_alerts", "test_conformance", "test_integrity", "test_routing", "test_second_site"}
    return 2 if among or item.name.startswith(after) else 0


@pytest.fixture(autouse=True)
def _stop_at_first_failure(request: pytest.FixtureRequest) -> None:
    """Fail all tests after the first failure: each needs the state that the one before left."""
    stands = "HAPACS_TEST_DEPLOYMENT" in os.environ
    if not stands and request.session.stash.get(_FAILED, False) and "down" not in request.node.name:
        pytest.fail("an earlier test of the cluster failed, so the state that this one needs is not there")


_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """After a failure copy the logs, and report their directory."""
    report = yield
    if report.when == "call" and report.failed and (lab := getattr(item, "funcargs", {}).get("lab")) is not None:
        first = not item.session.stash.get(_FAILED, False)
        item.session.stash[_FAILED] = True
        if first:
            report.sections.append(("Logs", _collect(lab)))
    return report


def _collect(lab: Lab) -> str:
    """Copy the nodes' journals and podman's description of them into the artifacts."""
    if not lab.deployment.contract_file.exists():
        return f"{lab.artifacts}\n{lab.deployment.logs} (the lab has no machines)"
    from hapacs.targets.lab.podman import LabError, podman  # noqa: PLC0415

    lines = [f"{lab.artifacts}: journals and units of the nodes, output of the commands, logs of the playbooks"]
    # Copied, because the test that takes the lab down removes them with the lab.
    shutil.copytree(lab.deployment.logs, lab.artifacts / "playbooks", dirs_exist_ok=True)
    journal = ["journalctl", "--no-pager", "--output=short-precise"]
    commands = {
        "journal": [*journal, "--lines=20000"],
        "units": ["systemctl", "list-units", "--all", "--no-pager", "*.service"],
        "warnings": [*journal, "--lines=40", "--priority=warning"],
    }
    for node in sorted(lab.nodes):
        for name, words in commands.items():
            try:
                text = podman("exec", lab.container(node), *words, timeout_s=60)
            except (LabError, subprocess.TimeoutExpired) as error:
                text = f"{error}\n"
            (lab.artifacts / f"{node}.{name}").write_text(text, encoding="utf-8")
            # The last warnings are printed too, in case only this output is kept.
            lines += [f"--- {node}: last warnings", text] if name == "warnings" else []
    return "\n".join(lines)
