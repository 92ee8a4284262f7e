"""Each scenario of molecule: a bare host, a check, the role, the role again without a change, a look with testinfra."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hapacs.deployment import state_directory

HERE = Path(__file__).parent
SCENARIOS = sorted(path.parent.name for path in HERE.glob("*/molecule.yml"))
TIME_S = 900


def test_there_are_scenarios() -> None:
    assert {"das", "haproxy"} <= set(SCENARIOS)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, tmp_path: Path) -> None:
    platforms = yaml.safe_load((HERE / scenario / "molecule.yml").read_text(encoding="utf-8"))["platforms"]
    names = [platform["name"] for platform in platforms]
    hosts = state_directory() / "testhosts"
    programs = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HAPACS_PROJECT": str(HERE.parents[1]),
        "HAPACS_PYTHON": sys.executable,
        "HAPACS_TESTHOST_KNOWN_HOSTS": " ".join(str(hosts / name / "ssh" / "known_hosts") for name in names),
        "MOLECULE_GLOB": str(HERE / "*" / "molecule.yml"),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(tmp_path),
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
    assert done.returncode == 0, (done.stdout + done.stderr)[-20000:]
    assert " passed" in done.stdout + done.stderr, "nothing was looked at"
