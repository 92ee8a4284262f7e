"""The tests of durability can fail: each patch breaks one rule, and the named test has to find it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hapacs.deployment import PROJECT

PATCHES = Path(__file__).parent / "patches"
FINDS = {
    "das-fsync": "test_das.py::test_the_file_then_its_name_are_flushed_before_write_returns",
    "digest-check-on-read": "test_das.py::test_a_damaged_copy_is_detected",
    "catalog-row-before-success": "test_area.py::test_the_catalog_is_written_last",
    "archive-finds-what-it-stored": (
        "test_cas.py::test_an_object_that_is_not_found_after_it_was_stored_is_stored_under_another_key"
    ),
    "fail-closed-on-archive-time-out": "test_area.py::test_create_fails_at_the_deadline_when_the_archive_hangs",
}


def run(plugins: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """Run tests of the node against a copy of its program."""
    paths = [str(PROJECT / "tests" / "unit" / "node" / test) for test in tests]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths],
        cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(plugins)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shutil.copytree(PROJECT / "plugins", tmp_path / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_every_patch_names_the_test_that_finds_it() -> None:
    with_test_beside_this_one = {"synchronous-commit", "overwrite-instances"}
    assert {path.stem for path in PATCHES.glob("*.patch")} == set(FINDS) | with_test_beside_this_one


def test_copy_without_a_patch_passes(tree: Path) -> None:
    done = run(tree / "plugins", *FINDS.values())
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("rule", FINDS)
def test_broken_rule_is_found(tree: Path, rule: str) -> None:
    subprocess.run(["git", "apply", str(PATCHES / f"{rule}.patch")], cwd=tree, check=True)
    done = run(tree / "plugins", FINDS[rule])
    assert done.returncode == 1, f"{rule} is broken, and no test fails:\n{done.stdout}{done.stderr}"
    assert "FAILED" in done.stdout
