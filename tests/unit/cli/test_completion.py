"""What the Tab key offers, asked as a shell asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hapacs import rotation, verify
from hapacs.cli import completion
from hapacs.deployment import PROJECT
from hapacs.services import operations

SLOW = ("pulumi", "httpx", "boto3", "pydicom", "numpy")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    contract = (PROJECT / "tests" / "contract" / "lab.json").read_text(encoding="utf-8")
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "inventory.json").write_text(contract, encoding="utf-8")
    return tmp_path


def offered(state: Path, line: str) -> set[str]:
    """Complete the last word of a line in a process of its own, as bash does; nothing slow may be imported."""
    words = line.split(" ")
    code = (
        "import sys, os; sys.argv = ['hapacs']\n"
        "from hapacs.cli import main\n"
        "try:\n    main()\nfinally:\n"
        f"    assert not [name for name in {SLOW!r} if name in sys.modules], 'something slow was imported'\n"
    )
    variables = {
        "_HAPACS_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "HAPACS_STATE_DIR": str(state),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | variables, check=False
    )
    assert "something slow" not in done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hapacs up ", {"lab", "example-hospital"}),
        ("hapacs drain lab --node ", {"pacs1", "pacs2", "pacs3", "dr1"}),
        ("hapacs drain --node p", {"pacs1", "pacs2", "pacs3"}),
        ("hapacs restart lab --service patr", {"patroni"}),
        ("hapacs restart lab --site ", {"primary", "dr"}),
        ("hapacs rotate lab --kind archive-", {"archive-node", "archive-tokens"}),
        ("hapacs verify lab --only c-", {"c-echo", "c-store", "c-find", "c-get", "c-move"}),
        ("hapacs switchover lab --what ", {"database", "storing", "address"}),
    ],
)
def test_the_shell_completes_names(state: Path, line: str, expected: set[str]) -> None:
    assert offered(state, line) == expected


def test_nothing_is_offered_for_a_deployment_without_inventory(tmp_path: Path) -> None:
    assert offered(tmp_path, "hapacs drain lab --node ") == set()


def test_what_is_offered_is_what_the_commands_take() -> None:
    assert completion.check_names() == verify.names()
    assert completion.secret_kinds() == list(rotation.KINDS)
    assert {*completion.service_names()} == {*operations.restartable(), "all"}
    contract = json.loads((PROJECT / "tests" / "contract" / "lab.json").read_text(encoding="utf-8"))
    assert {node for site in contract["sites"].values() for node in site["nodes"]} == {"pacs1", "pacs2", "pacs3", "dr1"}
