"""Units of the role integrity, rendered as on a node of the lab: what is turned off, and what may be written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hapacs.site import node_facts
from tests.unit.ansible.loading import ANSIBLE, PROJECT

NODE = "pacs1"
TEMPLATES = ANSIBLE / "roles/integrity/templates"
READER = "BindReadOnlyPaths=/etc/hapacs/cas_reader_credentials.json:/etc/hapacs/cas_credentials.json"


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Return the lines of each unit; ``off`` before a name: with the policy that turns all off."""
    directory: Path = tmp_path_factory.mktemp("rendered")
    (directory / "lab").mkdir()
    shutil.copy(PROJECT / "tests/contract/lab.json", directory / "lab/inventory.json")
    shutil.copy(PROJECT / "inventories/lab/pulumi_stack.yml", directory)
    (directory / "group_vars").symlink_to(ANSIBLE / "playbooks/group_vars")
    tasks: list[dict[str, Any]] = [
        {
            "name": "integrity",
            "ansible.builtin.include_role": {"name": "integrity", "tasks_from": "preflight", "public": True},
        }
    ]
    for off in (False, True):
        for name in ("scrub", "reconcile", "manifest"):
            for kind in ("service", "timer"):
                lookup = f"lookup('template', '{TEMPLATES}/hapacs-integrity.{kind}.j2')"
                dest = directory / f"{'off ' if off else ''}{name}.{kind}"
                task = {"content": f"{{{{ {lookup} }}}}", "dest": str(dest), "mode": "0600"}
                variables: dict[str, object] = {"program": f"{{{{ __integrity_{name} }}}}"}
                if off:
                    variables |= {"integrity_scrub": False, "integrity_reconcile": False}
                tasks.append({"name": dest.name, "ansible.builtin.copy": task, "vars": variables})
    (directory / "render.yml").write_text(yaml.safe_dump([{"hosts": NODE, "gather_facts": False, "tasks": tasks}]))
    given = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("ansible-playbook"), "--inventory", directory / "pulumi_stack.yml"),
            *("--extra-vars", json.dumps(given), directory / "render.yml"),
        ],
        env=os.environ | {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "HAPACS_STATE_DIR": str(directory)},
        cwd=PROJECT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return {
        path.name: path.read_text().splitlines() for path in (*directory.glob("*.service"), *directory.glob("*.timer"))
    }


def test_the_scrub_reads_a_24th_of_the_days_budget_each_hour(units: dict[str, list[str]]) -> None:
    program = "/opt/hapacs/venv/bin/hapacs-node"
    assert f"ExecStart={program} scrub --budget 4.167 --rate 20 --days 30 --operator timer" in units["scrub.service"]
    assert "OnCalendar=*-*-* *:00:00" in units["scrub.timer"]


def test_the_comparison_starts_at_a_random_time_after_its_hour(units: dict[str, list[str]]) -> None:
    assert {"OnCalendar=*-*-* 01:00:00", "RandomizedDelaySec=3h"} <= set(units["reconcile.timer"])


def test_the_comparison_repairs_nothing_and_may_only_read(units: dict[str, list[str]]) -> None:
    lines = units["reconcile.service"]
    assert not [line for line in lines if "--repair" in line]
    assert READER in lines
    assert "ReadWritePaths=/var/lib/hapacs/integrity" in lines
    assert READER not in units["scrub.service"]
    assert "ReadWritePaths=/var/lib/hapacs/integrity /srv/das" in units["scrub.service"]


def test_the_manifest_is_written_to_the_archive_and_to_no_das(units: dict[str, list[str]]) -> None:
    lines = units["manifest.service"]
    assert READER not in lines
    assert "ReadWritePaths=/var/lib/hapacs/integrity" in lines
    assert "OnCalendar=*-*-* 01:10:00 UTC" in units["manifest.timer"]
    # No setting turns it off.
    assert node_facts.OFF not in units["off manifest.service"]


@pytest.mark.parametrize("name", ["scrub", "reconcile"])
def test_a_check_is_skipped_only_where_the_settings_turn_it_off(units: dict[str, list[str]], name: str) -> None:
    assert node_facts.OFF not in units[f"{name}.service"]
    assert node_facts.OFF in units[f"off {name}.service"]
    assert units[f"off {name}.timer"] == units[f"{name}.timer"]


def test_systemd_takes_the_units(units: dict[str, list[str]], tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze on this machine")
    for name, lines in units.items():
        # The program and its user are on nodes only.
        text = "\n".join(line for line in lines if not line.startswith(("User=", "Group=")))
        text = text.replace("/opt/hapacs/venv/bin/hapacs-node", "/bin/true")
        (tmp_path / f"hapacs-{name.replace(' ', '-')}").write_text(f"{text}\n")
    names = sorted(tmp_path.iterdir())
    done = subprocess.run([analyze, "verify", "--man=no", *names], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "hapacs-" in line] == []
