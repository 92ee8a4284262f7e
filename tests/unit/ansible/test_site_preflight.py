"""`site.yml` checks the input of every role, on every host, before it installs or changes anything."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hapacs.secrets import SECRETS
from tests.unit.ansible.loading import ANSIBLE, load
from tests.unit.provisioning.test_inventory_through_ansible import Ansible

PLAYS = yaml.safe_load((ANSIBLE / "playbooks/site.yml").read_text(encoding="utf-8"))
ROLES = sorted(path.name for path in (ANSIBLE / "roles").iterdir() if path.is_dir())
CHECK = next(play for play in PLAYS if play["name"] == "Check the input of every role")
GIVEN = {name: make() for name, make in SECRETS.items()} | {
    "ansible_connection": "local",
    "hapacs_drained": False,
    "hapacs_wheelhouse_directory": "/nonexistent",
    "hapacs_node_wheel": "/nonexistent/hapacs_node-1.0-py3-none-any.whl",
    "viewer_bundle": f"/nonexistent/viewer-3.13.2-{'0' * 16}.tar",
    "haproxy_status_bundle": f"/nonexistent/status-page-{'0' * 16}.tar",
}

service_roles = load("filter/services").service_roles

type Play = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def site(tmp_path: Path) -> Play:
    """Return a function that runs plays of `site.yml` on the golden inventory, as a check, with some variables."""
    ansible = Ansible(tmp_path)
    (tmp_path / "roles").symlink_to(ANSIBLE / "roles")
    playbooks = tmp_path / "playbooks"
    playbooks.mkdir()
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("libcivetweb1_1.16", "orthanc_1.13.0", "hapacs-nesting_1"):
        (packages / f"{name}+hapacs.0_amd64.deb").touch()
    given = GIVEN | {"hapacs_backport_directory": str(packages)}
    for name in ("group_vars", "tasks"):
        (playbooks / name).symlink_to(ANSIBLE / "playbooks" / name)

    def run(plays: list[dict[str, Any]], **variables: object) -> subprocess.CompletedProcess[str]:
        (playbooks / "site.yml").write_text(yaml.safe_dump(plays), encoding="utf-8")
        return ansible.run(
            "ansible-playbook", "--check", "--extra-vars", json.dumps(given | variables), playbooks / "site.yml"
        )

    return run


def test_only_the_preflight_of_the_machines_comes_before() -> None:
    assert PLAYS[0]["ansible.builtin.import_playbook"] == "preflight.yml"
    assert PLAYS[1] == CHECK
    assert CHECK["hosts"] == "all"
    assert CHECK["tags"] == ["always"]


def test_sound_input_passes_on_machines_without_packages(site: Play) -> None:
    done = site([CHECK])
    assert done.returncode == 0, done.stdout[-3000:]
    for host in ("pacs1", "pacs2", "pacs3"):
        assert f"ok: [{host}]" in done.stdout
    assert "changed=0" in done.stdout


def test_the_roles_of_the_table_are_all_roles() -> None:
    # The role drill belongs to its own playbooks, which check its input.
    assert sorted({"pki", "drill", *service_roles("all")}) == ROLES


def test_mistakes_of_all_roles_stop_the_run_before_the_first_package(site: Play) -> None:
    done = site(
        PLAYS[1:],
        keepalived_router_id=300,
        haproxy_health_ae="MODALITY",
        viewer_bundle="",
        etcd_election_timeout_ms="soon",
    )
    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split())
    assert "Role etcd: argument 'etcd_election_timeout_ms' is of type" in said
    assert "Role viewer: viewer_bundle must be the path" in said
    assert "AE title MODALITY belongs to the balancer's health check" in said
    assert "Role keepalived: keepalived_members must list" in said
    assert f"PLAY [{PLAYS[2]['name']}]" not in done.stdout
