"""Each scenario of molecule: a host, a check, the role, the role again without a change, a look with testinfra."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

# The long ones first, so that the end is not one of them alone.
FIRST = ["cluster", "node"]
SCENARIOS = sorted(
    (path.parent.name for path in Path(__file__).parent.glob("*/molecule.yml")),
    key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name),
)
# Three nodes and the packages of Orthanc's authors; two sites with backups, which the storage tests make too: not in
# every run.
LONG = {"cluster", "backup"}


@pytest.mark.parametrize(
    "scenario", [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in SCENARIOS]
)
def test_scenario(scenario: str, result_of: Callable[[str], str]) -> None:
    assert " passed" in result_of(scenario), "nothing was looked at"
