"""Each scenario of molecule: a host, a check, the role, the role again without a change, a look with testinfra."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from hapacs import image, viewer, wheelhouse
from hapacs.deployment import state_directory

HERE = Path(__file__).parent
# The long ones first, so that the end is not one of them alone.
FIRST = ["orthanc"]
SCENARIOS = sorted(
    (path.parent.name for path in HERE.glob("*/molecule.yml")),
    key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name),
)
# Each waits for its host most of the time: two keep two cores at work.
AT_A_TIME = 2
TIME_S = 900


def run(scenario: str, directory: Path) -> str:
    """Run a scenario from its host's making to its removal; return what it printed.

    Raises
    ------
    AssertionError
        When it failed, with the end of what it printed.
    """
    platforms = yaml.safe_load((HERE / scenario / "molecule.yml").read_text(encoding="utf-8"))["platforms"]
    hosts = state_directory() / "testhosts"
    programs = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HAPACS_PROJECT": str(HERE.parents[1]),
        "HAPACS_PYTHON": sys.executable,
        "HAPACS_TESTHOST_KNOWN_HOSTS": " ".join(str(hosts / it["name"] / "ssh" / "known_hosts") for it in platforms),
        "HAPACS_WHEELHOUSE": str(wheelhouse.directory()),
        "HAPACS_NODE_WHEEL": str(wheelhouse.node_wheel()),
        "HAPACS_VIEWER_BUNDLE": str(viewer.ensure()),
        "MOLECULE_GLOB": str(HERE / "*" / "molecule.yml"),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(directory),
        "ANSIBLE_NOCOLOR": "1",
    }
    command = [
        str(programs / "molecule"),
        "--base-config",
        str(HERE / "config.yml"),
        "test",
        "--scenario-name",
        scenario,
    ]
    done = subprocess.run(
        command, env=environment, cwd=HERE.parents[1], capture_output=True, text=True, timeout=TIME_S, check=False
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-20000:]
    return printed


@pytest.fixture(scope="session")
def result_of(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], str]]:
    """Begin all chosen scenarios, some at a time; the fixture waits for one of them."""
    chosen = [item.callspec.params["scenario"] for item in request.session.items if hasattr(item, "callspec")]
    image.ensure()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        begun = {name: pool.submit(run, name, tmp_path_factory.mktemp(name)) for name in chosen}
        yield lambda scenario: begun[scenario].result()
        for waiting in begun.values():
            waiting.cancel()


def test_there_are_scenarios() -> None:
    assert {"das", "haproxy", "orthanc", "viewer"} <= set(SCENARIOS)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, result_of: Callable[[str], str]) -> None:
    assert " passed" in result_of(scenario), "nothing was looked at"
