"""The scenarios of molecule leave no role out: each is applied to a bare Debian 13, and each choice is made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.unit.ansible.loading import ANSIBLE, PROJECT

MOLECULE = PROJECT / "tests" / "molecule"
SCENARIOS = sorted(path.parent for path in MOLECULE.glob("*/molecule.yml"))
ROLES = {path.name for path in (ANSIBLE / "roles").iterdir() if path.is_dir()}
SITE = ANSIBLE / "playbooks" / "site.yml"
# Roles that have nothing to choose when they are applied: of one kind of node only, or a program that is placed.
WITHOUT_A_CHOICE = {"pki", "hapacs_node", "drill"}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def playbook(scenario: Path) -> Path:
    """Return what a scenario applies."""
    playbooks = read(scenario / "molecule.yml").get("provisioner", {}).get("playbooks", {})
    return (scenario / str(playbooks.get("converge", "converge.yml"))).resolve()


def applied(scenario: Path, platform: dict[str, Any]) -> set[str]:
    """Return the roles that a scenario applies to one of its hosts."""
    groups = {"all", "installed", *platform.get("groups", [])}
    found: set[str] = set()
    for play in read(playbook(scenario)):
        wanted = str(play.get("hosts", "")).split(":&", maxsplit=1)[0]
        if wanted in groups:
            found |= {role["role"] if isinstance(role, dict) else role for role in play.get("roles", [])}
    return found


HOSTS = [(scenario, platform) for scenario in SCENARIOS for platform in read(scenario / "molecule.yml")["platforms"]]


def test_each_scenario_applies_and_tests_a_role() -> None:
    assert SCENARIOS
    for scenario, platform in HOSTS:
        assert applied(scenario, platform), f"{scenario.name}: nothing is applied to {platform['name']}"
    for scenario in SCENARIOS:
        assert list((scenario / "tests").glob("test_*.py")), scenario.name


def test_each_role_is_installed_on_a_bare_machine() -> None:
    bare = [applied(scenario, host) for scenario, host in HOSTS if host.get("image_kind", "base") == "base"]
    assert ROLES - set().union(*bare) == set()


def test_each_role_with_a_choice_is_applied_in_more_than_one_way() -> None:
    times = {role: sum(role in applied(scenario, host) for scenario, host in HOSTS) for role in ROLES}
    assert {role for role, count in times.items() if count < 2} <= WITHOUT_A_CHOICE


def test_host_names_are_unique_over_scenarios() -> None:
    # Scenarios run side by side.
    names = [host["name"] for _, host in HOSTS]
    assert len(names) == len(set(names))
    assert all(name.startswith("hapacs-molecule-") for name in names)
