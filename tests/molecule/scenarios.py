"""Runs scenarios of molecule beside other tests: `python -m tests.molecule.scenarios DIRECTORY NAME...`.

It is a process of its own, because tests replace functions and variables of theirs. The result of each scenario is a
file in the directory, which is there when the scenario has ended.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from hapacs import backport, image, status_page, viewer, wheelhouse

HERE = Path(__file__).parent
# The long ones first, so that the end is not one of them alone.
FIRST = ["cluster", "node"]
SCENARIOS = sorted(
    (path.parent.name for path in HERE.glob("*/molecule.yml")),
    key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name),
)
# Each waits for its host most of the time: two keep two cores at work.
AT_A_TIME = 2
# A guard against a scenario that hangs. `node` takes 10 minutes alone, most of it for tests on its host, and 20 to 28
# beside the other tests.
TIME_S = 2700
REMOVAL_S = 300
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# What pytest and Ansible begin the lines with that name a failure; ">" is the line of a test at which it stopped.
_FAILED = re.compile(r"^\W*(FAILED |ERROR |E  |fatal: |failed: )|^\W*> {2,}|\.py:\d+: |Timeout")


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
    return "\n".join([printed[-20000:], "What failed:", *failed[-100:]])


def run(scenario: str, directory: Path) -> str:
    """Run a scenario from its host's making to its removal; return what it printed.

    Raises
    ------
    AssertionError
        When it failed or did not end in time, with the end of what it printed.
    """
    programs = Path(sys.executable).parent
    directory.mkdir()
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HAPACS_PROJECT": str(HERE.parents[1]),
        "HAPACS_PYTHON": sys.executable,
        "HAPACS_IMAGE_ID": image.identifier(),
        "HAPACS_WHEELHOUSE": str(wheelhouse.directory()),
        "HAPACS_NODE_WHEEL": str(wheelhouse.node_wheel()),
        "HAPACS_VIEWER_BUNDLE": str(viewer.ensure()),
        "HAPACS_STATUS_BUNDLE": str(status_page.ensure()),
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


def keep(scenario: str, directory: Path) -> None:
    """Run a scenario, and write its result: what it printed, and whether it passed."""
    try:
        result = {"passed": True, "printed": run(scenario, directory / scenario)}
    except Exception as error:  # noqa: BLE001 - the test of this scenario reports it
        result = {"passed": False, "printed": f"{type(error).__name__}: {error}"}
    unfinished = directory / f"{scenario}.unfinished"
    unfinished.write_text(json.dumps(result), encoding="utf-8")
    unfinished.rename(directory / f"{scenario}.json")


def main(directory: Path, names: list[str]) -> None:
    """Run the scenarios, some at a time. SIGTERM lets those that run come to their end, and begins no other."""
    if any(it.get("image_kind") == "golden" for name in names for it in platforms(name)):
        image.ensure()
    wheelhouse.ensure()
    backport.ensure()
    pool = ThreadPoolExecutor(AT_A_TIME)
    signal.signal(signal.SIGTERM, lambda *_: pool.shutdown(wait=False, cancel_futures=True))
    for name in names:
        pool.submit(keep, name, directory)
    pool.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
