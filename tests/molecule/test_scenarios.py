"""Each scenario of molecule: a host, a check, the role, the role again without a change, a look with testinfra."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from hapacs import backport, image, viewer, wheelhouse

HERE = Path(__file__).parent
# The long ones first, so that the end is not one of them alone.
FIRST = ["cluster", "node"]
SCENARIOS = sorted(
    (path.parent.name for path in HERE.glob("*/molecule.yml")),
    key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name),
)
# Three nodes and the packages of Orthanc's authors: not in every run.
LONG = {"cluster"}
# Each waits for its host most of the time: two keep two cores at work.
AT_A_TIME = 2
# A guard against a scenario that hangs: `node` alone takes 5 to 15 minutes, most of it the download of packages.
TIME_S = 1500
REMOVAL_S = 300
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# What pytest and Ansible begin the lines with that name a failure.
_FAILED = re.compile(r"^\W*(FAILED |ERROR |E  |fatal: |failed: )|Timeout")


def configuration(scenario: str) -> dict[str, Any]:
    """Return what a scenario says to molecule."""
    read: dict[str, Any] = yaml.safe_load((HERE / scenario / "molecule.yml").read_text(encoding="utf-8"))
    return read


def platforms(scenario: str) -> list[dict[str, Any]]:
    """Return the hosts that a scenario makes."""
    listed: list[dict[str, Any]] = configuration(scenario)["platforms"]
    return listed


def ending(printed: str) -> str:
    """Return the end of what molecule printed, and below it once more the lines that say which test or task failed.

    What shows a report of thousands of lines cuts it in its middle, and the tests of a host come before its removal.
    """
    failed = [line for line in _COLOUR.sub("", printed).splitlines() if _FAILED.search(line)]
    return "\n".join([printed[-20000:], "What failed:", *failed[-60:]])


def run(scenario: str, directory: Path) -> str:
    """Run a scenario from its host's making to its removal; return what it printed.

    Raises
    ------
    AssertionError
        When it failed or did not end in time, with the end of what it printed.
    """
    programs = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HAPACS_PROJECT": str(HERE.parents[1]),
        "HAPACS_PYTHON": sys.executable,
        "HAPACS_IMAGE_ID": image.identifier(),
        "HAPACS_WHEELHOUSE": str(wheelhouse.directory()),
        "HAPACS_NODE_WHEEL": str(wheelhouse.node_wheel()),
        "HAPACS_VIEWER_BUNDLE": str(viewer.ensure()),
        "HAPACS_BACKPORT": str(backport.directory()),
        "MOLECULE_GLOB": str(HERE / "*" / "molecule.yml"),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(directory),
        "ANSIBLE_NOCOLOR": "1",
        "COLUMNS": "160",
    }

    def molecule(verb: str, time_s: float) -> subprocess.CompletedProcess[str]:
        command = [str(programs / "molecule"), "--base-config", str(HERE / "config.yml"), verb]
        return subprocess.run(
            [*command, "--scenario-name", scenario], env=environment, cwd=HERE.parents[1],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=time_s, check=False,
        )  # fmt: skip

    try:
        done = molecule("test", TIME_S)
    except subprocess.TimeoutExpired as expired:
        # Molecule was killed, so its hosts still run.
        molecule("destroy", REMOVAL_S)
        printed = (expired.stdout or b"").decode(errors="replace")  # bytes, even with `text`
        raise AssertionError(f"{scenario} did not end within {TIME_S} s: {ending(printed)}") from None
    assert done.returncode == 0, ending(done.stdout)
    return done.stdout


@pytest.fixture(scope="session")
def result_of(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], str]]:
    """Begin all chosen scenarios, some at a time; the fixture waits for one of them."""
    ours = [item for item in request.session.items if item.path == Path(__file__)]
    chosen = [item.callspec.params["scenario"] for item in ours if hasattr(item, "callspec")]
    if any(it.get("image_kind") == "golden" for name in chosen for it in platforms(name)):
        image.ensure()
    wheelhouse.ensure()
    backport.ensure()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        begun = {name: pool.submit(run, name, tmp_path_factory.mktemp(name)) for name in chosen}
        yield lambda scenario: begun[scenario].result()
        for waiting in begun.values():
            waiting.cancel()


@pytest.mark.parametrize(
    "scenario", [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in SCENARIOS]
)
def test_scenario(scenario: str, result_of: Callable[[str], str]) -> None:
    assert " passed" in result_of(scenario), "nothing was looked at"
