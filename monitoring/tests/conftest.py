"""Where the tests find promtool and amtool."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from hapacs.deployment import PROJECT, cache_directory


def _tool(name: str) -> Path:
    found = shutil.which(name) or shutil.which(name, path=str(cache_directory() / "prometheus-tools" / "usr" / "bin"))
    if found is None:
        pytest.skip(f"{name} is not there: run `sh {PROJECT}/pulumi/setup/prometheus-tools.sh`")
    return Path(found)


@pytest.fixture(scope="session")
def promtool() -> Path:
    return _tool("promtool")


@pytest.fixture
def taken(promtool: Path, tmp_path: Path) -> Callable[[Mapping[str, str]], None]:
    """Return what fails the test unless promtool takes every expression; each is a rule with the name that it has."""

    def check(expressions: Mapping[str, str]) -> None:
        rules = [{"record": name, "expr": expression} for name, expression in expressions.items()]
        file = tmp_path / "rules.yml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "expressions", "rules": rules}]}), encoding="utf-8")
        done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return check


@pytest.fixture(scope="session")
def amtool() -> Path:
    return _tool("amtool")


@pytest.fixture(scope="session")
def alertmanager() -> Path:
    return _tool("prometheus-alertmanager")


@pytest.fixture(scope="session")
def prometheus() -> Path:
    return _tool("prometheus")
