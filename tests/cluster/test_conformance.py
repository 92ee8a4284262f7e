"""Programs of others are served by the lab: the part of `make conformance` that needs DCMTK and curl alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hapacs.deployment import PROJECT
from tests.cluster.conftest import Lab

pytestmark = pytest.mark.timeout(10 * 60)


def test_dcmtks_programs_are_served(lab: Lab) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not long", "-p", "no:cacheprovider", "tests/conformance"],
        cwd=PROJECT, capture_output=True, text=True, timeout=9 * 60, check=False,
        env={**os.environ, "HAPACS_TEST_DEPLOYMENT": lab.deployment.name},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
