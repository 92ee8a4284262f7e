"""One version, everywhere."""

import re
import tomllib
from importlib.metadata import version

from tests.unit.docs.tree import PROJECT


def declared(path: str) -> str:
    return str(tomllib.loads((PROJECT / path).read_text())["project"]["version"])


def test_both_distributions_have_one_version() -> None:
    assert declared("pyproject.toml") == declared("plugins/pyproject.toml")


def test_the_changelog_has_a_section_of_the_version_with_a_date() -> None:
    headings = re.findall(r"^## (.+)$", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(declared('pyproject.toml'))}\] - \d{{4}}-\d\d-\d\d", headings[1])


def test_the_environment_has_the_version_of_the_tree() -> None:
    """Setup installs the tree again when the version changes."""
    assert version("hapacs") == version("hapacs-node") == declared("pyproject.toml")
