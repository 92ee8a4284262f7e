"""Where the tests find promtool and amtool."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hapacs.deployment import PROJECT, cache_directory


def _tool(name: str) -> Path:
    found = shutil.which(name) or shutil.which(name, path=str(cache_directory() / "prometheus-tools" / "usr" / "bin"))
    if found is None:
        pytest.skip(f"{name} is not there: run `sh {PROJECT}/pulumi/setup/prometheus-tools.sh`")
    return Path(found)


@pytest.fixture(scope="session")
def promtool() -> Path:
    return _tool("promtool")


@pytest.fixture(scope="session")
def amtool() -> Path:
    return _tool("amtool")


@pytest.fixture(scope="session")
def alertmanager() -> Path:
    return _tool("prometheus-alertmanager")


@pytest.fixture(scope="session")
def prometheus() -> Path:
    return _tool("prometheus")
