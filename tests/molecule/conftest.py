"""Scenarios begin before the first test of a run.

What molecule runs on their hosts is not for this machine: it damages disks.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import testinfra  # type: ignore[import-untyped]
import yaml

collect_ignore_glob = [] if os.environ.get("MOLECULE_SCENARIO_NAME") else ["*/tests/*"]

# A test that takes so long hangs: the next one would be 80 s.
HANGS_S = 400
RUNNING = pytest.StashKey["tuple[subprocess.Popen[bytes], Path]"]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin the chosen scenarios: they wait for their hosts most of the time, and other tests run meanwhile."""
    ours = [item for item in session.items if item.path == Path(__file__).with_name("test_scenarios.py")]
    chosen = [str(item.callspec.params["scenario"]) for item in ours if isinstance(item, pytest.Function)]
    if chosen and not session.config.option.collectonly:
        directory = Path(tempfile.mkdtemp(prefix="hapacs-scenarios-"))
        command = [sys.executable, "-m", "tests.molecule.scenarios", str(directory), *chosen]
        with (directory / "log").open("wb") as log:
            running = subprocess.Popen(
                command, cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        session.stash[RUNNING] = (running, directory)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Wait for scenarios that still run: their hosts go with them."""
    if begun := session.stash.get(RUNNING, None):
        running, directory = begun
        running.terminate()
        running.wait()
        shutil.rmtree(directory)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Say what runs when a test on a scenario's host hangs; the host's processes are this machine's too."""
    watch = threading.Timer(HANGS_S, _tell_what_runs, [item])
    watch.daemon = True
    if os.environ.get("MOLECULE_SCENARIO_NAME"):
        watch.start()
    try:
        return (yield)
    finally:
        watch.cancel()


def _tell_what_runs(item: pytest.Item) -> None:
    listed = subprocess.run(
        ["ps", "-e", "--sort=-etimes", "-o", "etimes,pid,ppid,stat,wchan:20,args"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    # What began with the test, or just before. The first word is what a failed scenario's report looks for.
    since = [line for line in listed.stdout.splitlines()[1:] if int(line.split(maxsplit=1)[0]) <= HANGS_S + 5]
    item.add_report_section("call", "what ran", "\n".join(f"Timeout, ran {line[:180]}" for line in since[:40]))


@pytest.fixture(scope="session")
def result_of(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Return a function that waits for a scenario's end and returns what it printed."""
    running, directory = request.session.stash[RUNNING]

    def wait(scenario: str) -> str:
        file = directory / f"{scenario}.json"
        while not file.exists() and running.poll() is None:
            time.sleep(1)
        assert file.exists(), (directory / "log").read_text(encoding="utf-8", errors="replace")[-20000:]
        result = json.loads(file.read_text(encoding="utf-8"))
        assert result["passed"], result["printed"]
        return str(result["printed"])

    return wait


@pytest.fixture(autouse=True)
def _never_on_this_machine(request: pytest.FixtureRequest) -> None:
    if "host" in request.fixturenames:
        assert request.getfixturevalue("host").backend.NAME == "ansible"


@pytest.fixture(scope="module")
def address(host: Any) -> str:
    """Where the scenario's host is reached."""
    return str(host.ansible.get_variables()["ansible_host"])


@pytest.fixture(scope="session")
def authorities() -> Path:
    """Where the scenario keeps its authorities, on this machine."""
    return Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "pki"


@pytest.fixture
def listening(host: Any) -> set[str]:
    """Return the addresses and ports at which the host takes TCP connections, but for its own loopback."""
    lines = host.check_output("ss --no-header --tcp --listening --numeric").splitlines()
    found = {line.split()[3] for line in lines}
    return {place for place in found if not place.startswith(("127.", "[::1]"))}


@pytest.fixture
def apply() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the scenario's playbook again, on one host and with other variables."""

    def run(host: Any, *words: str, **variables: object) -> subprocess.CompletedProcess[str]:
        scenario = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
        said = yaml.safe_load((scenario / "molecule.yml").read_text(encoding="utf-8"))
        playbook = said.get("provisioner", {}).get("playbooks", {}).get("converge", "converge.yml")
        command = ["ansible-playbook", "--inventory", os.environ["MOLECULE_INVENTORY_FILE"], *words]
        command += ["--limit", host.backend.get_hostname(), "--extra-vars", json.dumps(variables)]
        return subprocess.run(
            [*command, str(scenario / playbook)], capture_output=True, text=True, timeout=600, check=False
        )

    return run


@pytest.fixture(scope="session")
def other_host() -> Callable[[str], Any]:
    """Return a function from a name to another host of the scenario."""
    inventory = os.environ["MOLECULE_INVENTORY_FILE"]
    return lambda name: testinfra.get_host(f"ansible://{name}", ansible_inventory=inventory, sudo=True)
