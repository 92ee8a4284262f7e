"""What molecule runs on a scenario's host is not for this machine: it damages disks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

collect_ignore_glob = [] if os.environ.get("MOLECULE_SCENARIO_NAME") else ["*/tests/*"]


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
