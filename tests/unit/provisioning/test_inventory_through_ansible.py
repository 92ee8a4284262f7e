"""The inventory plugin through the real `ansible-inventory`, on the golden contract."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.provisioning.golden import ALL, CONNECTION, GOLDEN, GROUPS, HOST, ROOT, SITE

BIN = Path(sys.executable).parent


class Ansible:
    """Runs Ansible on an inventory directory and a state directory of its own."""

    def __init__(self, root: Path) -> None:
        self.inventory = root / "inventory"
        self.state = root / "state"
        self.contract = self.state / "lab" / "inventory.json"
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE", "HAPACS"))
        }
        self.environment |= {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_HOME": str(root / "ansible"),
            "HAPACS_STATE_DIR": str(self.state),
            "NO_COLOR": "1",
        }
        self.inventory.mkdir()
        self.contract.parent.mkdir(parents=True)
        self.configure()
        self.write(GOLDEN)

    def write(self, contract: dict[str, Any]) -> None:
        self.contract.write_text(json.dumps(contract))

    def configure(self, **options: Any) -> None:
        options = {"plugin": "pulumi_stack", "deployment": "lab"} | options
        (self.inventory / "pulumi_stack.yml").write_text(yaml.safe_dump(options))

    def run(self, command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command that takes an inventory, with ours."""
        return self.run_plain(command, "-i", self.inventory, *arguments)

    def run_plain(self, command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / command, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def list(self, *arguments: str | Path) -> Any:
        done = self.run("ansible-inventory", "--list", *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def variables(self, host: str) -> Any:
        done = self.run("ansible-inventory", "--host", host)
        assert done.returncode == 0, done.stderr
        return _plain(json.loads(done.stdout))


def _plain(value: Any) -> Any:
    """Undo how `ansible-inventory` marks text that is no template."""
    if isinstance(value, dict):
        return value.get("__ansible_unsafe") or {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


@pytest.fixture
def ansible(tmp_path: Path) -> Ansible:
    return Ansible(tmp_path)


def test_ansible_inventory_lists_the_golden_contract(ansible: Ansible) -> None:
    listed = ansible.list()
    assert set(listed["_meta"]["hostvars"]) == {"pacs1", "pacs2", "pacs3"}
    for group in (*GROUPS, "site_primary"):
        assert listed[group]["hosts"] == ["pacs1", "pacs2", "pacs3"]
    assert listed["zone_rack3"]["hosts"] == ["pacs3"]


def test_ansible_sees_every_promised_variable(ansible: Ansible) -> None:
    variables = ansible.variables("pacs1")
    assert set(variables) - {"ansible_local"} == CONNECTION | ALL | HOST | SITE
    assert variables["hapacs_vip"] == {"address": "10.89.77.10", "prefix": 24, "router_id": 77}
    assert variables["hapacs_callers"] == GOLDEN["sites"]["primary"]["callers"]
    assert variables["hapacs_pki_directory"] == str(ansible.state / "lab" / "pki")


def test_directory_of_the_lab_is_an_inventory(ansible: Ansible) -> None:
    ansible.inventory = ROOT / "inventories/lab"
    done = ansible.run("ansible-inventory", "--graph", "etcd")
    assert done.returncode == 0, done.stderr
    assert [line.strip(" |-") for line in done.stdout.split()] == ["@etcd:", "pacs1", "pacs2", "pacs3"]


def test_nothing_of_the_contract_is_a_template(ansible: Ansible) -> None:
    contract = copy.deepcopy(GOLDEN)
    contract["sites"]["primary"]["callers"][0]["ae_title"] = "{{ 6 * 7 }}"
    ansible.write(contract)
    done = ansible.run(
        "ansible", "pacs1", "-c", "local", "-m", "ansible.builtin.debug", "-a", "msg={{ hapacs_callers[0].ae_title }}"
    )
    assert done.returncode == 0, done.stderr
    assert "{{ 6 * 7 }}" in done.stdout
    assert "42" not in done.stdout


def test_constructed_groups(ansible: Ansible) -> None:
    ansible.configure(
        compose={"rack_number": "hapacs_zone | regex_search('[0-9]+')"},
        groups={"voters": "hapacs_node in hapacs_members.etcd | map(attribute='name') and hapacs_zone != 'rack2'"},
        keyed_groups=[{"key": "hapacs_target", "prefix": "target"}],
    )
    listed = ansible.list()
    assert listed["voters"]["hosts"] == ["pacs1", "pacs3"]
    assert listed["target_lab"]["hosts"] == ["pacs1", "pacs2", "pacs3"]
    assert ansible.variables("pacs2")["rack_number"] == "2"


@pytest.mark.parametrize("strict", [True, False])
def test_strict_refuses_what_it_cannot_compute(ansible: Ansible, strict: bool) -> None:
    ansible.configure(strict=strict, compose={"nonsense": "no_such_variable.field"})
    assert (ansible.run("ansible-inventory", "--list").returncode != 0) is strict


def test_cache_answers_until_it_is_flushed(ansible: Ansible, tmp_path: Path) -> None:
    ansible.configure(cache=True, cache_plugin="jsonfile", cache_connection=str(tmp_path / "cache"))
    before = ansible.list()
    ansible.contract.unlink()
    assert ansible.list() == before
    flushed = ansible.run("ansible-inventory", "--list", "--flush-cache")
    assert flushed.returncode != 0
    assert "`hapacs up` writes it" in flushed.stderr


def test_source_cli_through_ansible(ansible: Ansible, pulumi: Callable[[str], str]) -> None:
    ansible.contract.rename(ansible.contract.with_name("answer.json"))
    executable = pulumi(f"cat {ansible.contract.with_name('answer.json')}")
    ansible.configure(source="cli", pulumi_executable=executable)
    assert set(ansible.list()["_meta"]["hostvars"]) == {"pacs1", "pacs2", "pacs3"}


def test_error_through_ansible_names_file_and_field(ansible: Ansible) -> None:
    contract = copy.deepcopy(GOLDEN)
    del contract["sites"]["primary"]["vip"]["router_id"]
    ansible.write(contract)
    done = ansible.run("ansible-inventory", "--list")
    assert done.returncode != 0
    assert "pulumi_stack.yml: sites.primary.vip.router_id: is missing" in done.stderr


def test_unknown_option_is_refused(ansible: Ansible) -> None:
    ansible.configure(keyed_group=[])
    done = ansible.run("ansible-inventory", "--list")
    assert done.returncode != 0
    assert "keyed_group: there is no such option" in done.stderr


def test_documentation_is_complete(ansible: Ansible) -> None:
    done = ansible.run_plain("ansible-doc", "-t", "inventory", "pulumi_stack", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)["pulumi_stack"]
    assert {"plugin", "deployment", "source", "state_directory", "cache", "strict", "keyed_groups"} <= set(
        document["doc"]["options"]
    )
    assert all(option["description"] for option in document["doc"]["options"].values())
    assert "plugin: pulumi_stack" in document["examples"]
