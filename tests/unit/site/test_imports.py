"""Directions of imports between the packages: what describes a site knows nothing of what uses the description."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hapacs.deployment import PROJECT

SOURCE = PROJECT / "pulumi" / "hapacs"
FORBIDDEN = {
    "dicom": {"site", "load", "verify", "bench", "cli"},
    "site": {"load", "verify", "bench", "cli"},
    "load": {"verify", "bench", "cli"},
    "verify": {"bench", "cli"},
    "bench": {"verify", "cli"},
}


def imported(module: Path) -> Iterator[str]:
    """Yield the packages of hapacs that a module imports, also within functions."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "hapacs":
            names = [f"hapacs.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("hapacs."))


@pytest.mark.parametrize("package", list(FORBIDDEN))
def test_package_does_not_import_its_users(package: str) -> None:
    modules = list((SOURCE / package).rglob("*.py"))
    found = {module.name: set(imported(module)) for module in modules}
    assert {name: wrong for name, all_ in found.items() if (wrong := all_ & FORBIDDEN[package])} == {}
    assert set().union(*found.values()), "no import was found at all, so nothing is proved"


def test_every_form_of_import_is_found(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("import hapacs.site\nfrom hapacs import load\ndef f():\n    from hapacs.verify.report import x\n")
    assert set(imported(module)) == {"site", "load", "verify"}


def test_settings_without_rules_and_status_import_nothing_slow() -> None:
    code = (
        "import sys\n"
        "from hapacs.deployment import Deployment\n"
        "from hapacs.site import access, collect\n"
        "print(len(Deployment.load('lab').settings.sites))\n"
        "print(sorted({'pydicom', 'numpy', 'pynetdicom', 'boto3', 'pulumi'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["2", "[]"]
