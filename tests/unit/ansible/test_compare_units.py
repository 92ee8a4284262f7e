"""Units of the comparison with the second site: where they do something, and what they may."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hapacs.site import node_facts
from tests.unit.ansible.loading import ANSIBLE

ROLE = ANSIBLE / "roles/routing"
VARS = yaml.safe_load((ROLE / "vars/main.yml").read_text())


def rendered(kind: str, **rules: object) -> list[str]:
    """Return the lines of a unit for some rules of the site."""
    loader = FileSystemLoader(ROLE / "templates")
    environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=False)  # noqa: S701 - no HTML
    environment.filters["comment"] = lambda text: f"# {text}"
    compares = environment.from_string(VARS["__routing_compares"]).render(routing_rules=rules)
    return environment.get_template(f"hapacs-compare.{kind}.j2").render(
        ansible_managed="made",
        __routing_compares=compares == "True",
        __routing_program=VARS["__routing_program"],
        __routing_tls=VARS["__routing_tls"],
        routing_compare_memory_mb=384,
    ).splitlines()  # fmt: skip


def test_only_a_site_that_copies_compares() -> None:
    assert node_facts.OFF not in rendered("service", second_site={"name": "dr"})
    assert node_facts.OFF in rendered("service", destinations={})
    assert node_facts.OFF in rendered("service", second_site=None)
    assert rendered("timer") == rendered("timer", second_site={"name": "dr"})


def test_one_node_compares_in_a_day_and_may_write_no_file() -> None:
    lines = rendered("service", second_site={"name": "dr"})
    program = "/opt/hapacs/venv/bin/hapacs-node replication compare --daily --json --tls /etc/hapacs-routing/tls"
    assert f"ExecStart={program}" in lines
    assert "ProtectSystem=strict" in lines
    assert not [line for line in lines if line.startswith("ReadWritePaths")]
    assert {"RandomizedDelaySec=3h", "Persistent=true"} <= set(rendered("timer"))


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze on this machine")
    for kind in ("service", "timer"):
        # The program and its user are on nodes only.
        lines = [line for line in rendered(kind, second_site={}) if not line.startswith(("User=", "Group="))]
        text = "\n".join(lines).replace(VARS["__routing_program"], "/bin/true")
        (tmp_path / f"hapacs-compare.{kind}").write_text(f"{text}\n")
    done = subprocess.run(
        [analyze, "verify", "--man=no", *tmp_path.iterdir()], capture_output=True, text=True, check=False
    )
    assert [line for line in done.stderr.splitlines() if "hapacs-" in line] == []
