"""What molecule runs on a scenario's host is not for this machine: it damages disks."""

from __future__ import annotations

import os

import pytest

collect_ignore_glob = [] if os.environ.get("MOLECULE_SCENARIO_NAME") else ["*/tests/*"]


@pytest.fixture(autouse=True)
def _never_on_this_machine(request: pytest.FixtureRequest) -> None:
    if "host" in request.fixturenames:
        assert request.getfixturevalue("host").backend.NAME == "ansible"
