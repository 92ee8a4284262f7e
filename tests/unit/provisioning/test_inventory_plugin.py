"""The inventory plugin: its pure part on the golden contract, then the whole through the real `ansible-inventory`."""

import copy
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PLUGIN = ROOT / "ansible/plugins/inventory/pulumi_stack.py"
LAB = json.loads((ROOT / "tests/contract/lab.json").read_text())
GOLDEN = LAB | {"sites": {"primary": LAB["sites"]["primary"]}}
"""The lab with its primary site alone."""

BIN = Path(sys.executable).parent
GROUPS = ("etcd", "postgres", "cas", "pacs", "load_balancer", "monitoring")
CONNECTION = {"ansible_host", "ansible_port", "ansible_user", "ansible_ssh_private_key_file", "ansible_ssh_common_args"}
ALL = {"hapacs_deployment", "hapacs_target", "hapacs_state_directory", "hapacs_pki_directory"}
HOST = {
    "hapacs_node",
    "hapacs_site",
    "hapacs_zone",
    "hapacs_address",
    "hapacs_management_address",
    "hapacs_das_devices",
    "hapacs_das_wipe_serials",
    "hapacs_data_directory",
}
SITE = {
    "hapacs_members",
    "hapacs_vip",
    "hapacs_cluster_network",
    "hapacs_management_networks",
    "hapacs_client_networks",
    "hapacs_dicom",
    "hapacs_https_port",
    "hapacs_callers",
    "hapacs_policy",
}


@pytest.fixture(scope="module")
def plugin():
    spec = importlib.util.spec_from_file_location("pulumi_stack_under_test", PLUGIN)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def contract():
    return copy.deepcopy(GOLDEN)


@pytest.fixture
def build(plugin):
    return lambda contract: plugin.build(contract, "lab", Path("/state/lab"))


@pytest.fixture
def refusal(plugin, build):
    """Return a function from a contract to the message with which it is refused."""

    def message(contract):
        with pytest.raises(plugin.ContractError) as caught:
            build(contract)
        return str(caught.value)

    return message


# --- the pure part -------------------------------------------------------------------------------------------------


def test_every_promised_variable_is_there_and_no_other(build, contract):
    found = build(contract)
    assert set(found.variables) == ALL | {"ansible_ssh_private_key_file", "ansible_ssh_common_args"}
    assert {name: set(variables) for name, variables in found.group_variables.items()} == {"site_primary": SITE}
    for variables in found.host_variables.values():
        assert set(variables) == HOST | {"ansible_host", "ansible_port", "ansible_user"}


def test_host_of_the_golden_contract(build, contract):
    assert build(contract).host_variables["pacs2"] == {
        "ansible_host": "10.89.77.12",
        "ansible_port": 22,
        "ansible_user": "hapacs",
        "hapacs_node": "pacs2",
        "hapacs_site": "primary",
        "hapacs_zone": "rack2",
        "hapacs_address": "10.89.77.12",
        "hapacs_management_address": "10.89.77.12",
        "hapacs_das_devices": ["/dev/disk/by-id/mock-pacs2-0", "/dev/disk/by-id/mock-pacs2-1"],
        "hapacs_das_wipe_serials": [],
        "hapacs_data_directory": "/srv/data",
    }


def test_groups_of_the_golden_contract(build, contract):
    groups = build(contract).host_groups
    assert {host: set(names) for host, names in groups.items()} == {
        f"pacs{number}": {"site_primary", f"zone_rack{number}", *GROUPS} for number in (1, 2, 3)
    }


def test_each_site_has_its_own_variables(build):
    found = build(copy.deepcopy(LAB))
    assert found.host_groups["dr1"] == ["site_dr", "zone_dr_rack1", *GROUPS]
    members = {name: variables["hapacs_members"]["etcd"] for name, variables in found.group_variables.items()}
    assert {name: [member["name"] for member in etcd] for name, etcd in members.items()} == {
        "site_primary": ["pacs1", "pacs2", "pacs3"],
        "site_dr": ["dr1"],
    }


def test_members_carry_name_address_and_zone(build, contract):
    contract["sites"]["primary"]["members"]["etcd"] = ["pacs3"]
    members = build(contract).group_variables["site_primary"]["hapacs_members"]
    assert set(members) == set(GROUPS)
    assert members["etcd"] == [{"name": "pacs3", "address": "10.89.77.13", "zone": "rack3"}]


def test_ssh_trusts_only_the_deployments_own_host_keys(plugin, contract):
    arguments = plugin.build(contract, "lab", Path("/with space/lab")).variables["ansible_ssh_common_args"]
    assert "-o 'UserKnownHostsFile=\"/with space/lab/ssh/known_hosts\"'" in arguments
    assert "StrictHostKeyChecking=yes" in arguments


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key)
            yield from leaves(item, (*path, key))


# Nodes are told apart below; the plugin reads no role, and without the site there is no node at all.
ELSEWHERE = re.compile(r"sites\.primary(\.role|\.nodes\.pacs\d)?")


@pytest.mark.parametrize("path", [path for path in map(".".join, leaves(GOLDEN)) if not ELSEWHERE.fullmatch(path)])
def test_missing_field_is_named(refusal, contract, path):
    *parents, last = path.split(".")
    place = contract
    for key in parents:
        place = place[key]
    del place[last]
    assert refusal(contract) == f"{path}: is missing"


def test_node_that_is_gone_is_missed_by_its_groups(refusal, contract):
    del contract["sites"]["primary"]["nodes"]["pacs2"]
    assert refusal(contract).startswith("sites.primary.members.etcd: names 'pacs2'")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("schema_version", 2, "use the plugin and the program of one release"),
        ("schema_version", "1", "has to be a whole number"),
        ("deployment", "other", "'lab' was asked for"),
        ("sites", [], "has to be a mapping"),
        ("sites", {}, "no site has a node"),
        ("sites.primary.nodes.pacs1", "10.89.77.11", "has to be a mapping"),
        ("sites.primary.nodes.pacs1.ssh_port", True, "has to be a whole number"),
        ("sites.primary.nodes.pacs1.address", "", "has to be text"),
        ("sites.primary.nodes.pacs1.das_devices", "/dev/sdb", "has to be a list"),
        ("sites.primary.members.cas", [], "is empty"),
        ("sites.primary.callers", [{"may": []}], "is missing"),
    ],
)
def test_wrong_field_is_named(refusal, contract, path, value, said):
    *parents, last = path.split(".")
    place = contract
    for key in parents:
        place = place[key]
    place[last] = value
    message = refusal(contract)
    assert message.startswith(path)
    assert said in message


def test_two_sites_never_share_a_host(refusal, contract):
    contract["sites"]["dr"] = copy.deepcopy(contract["sites"]["primary"])
    assert refusal(contract) == "sites.dr.nodes.pacs1: another site has a node of this name"


def test_state_directory_follows_the_platform(plugin, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert plugin.state_directory(None) == Path("/xdg/hapacs")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/operator")
    assert plugin.state_directory(None) == Path("/home/operator/.local/state/hapacs")
    assert plugin.state_directory("/given") == Path("/given")


# --- source: cli ----------------------------------------------------------------------------------------------------


@pytest.fixture
def pulumi(tmp_path):
    """Return a function that makes an executable with a given body in Pulumi's place."""

    def make(body):
        path = tmp_path / "pulumi"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    return make


def test_cli_asks_the_stack_for_its_output(plugin, pulumi):
    executable = pulumi('printf \'["%s", "%s", "%s"]\' "$*" "$PULUMI_BACKEND_URL" "$(basename "$PWD")"')
    assert plugin.read_cli(executable, "lab", "file:///backend") == [
        "stack output inventory --json --non-interactive --stack lab",
        "file:///backend",
        "pulumi",
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [("echo 'error: no stack named lab' >&2; exit 255", "no stack named lab"), ("echo hello", "printed no JSON")],
)
def test_failure_of_the_cli_is_told(plugin, pulumi, body, said):
    with pytest.raises(plugin.ContractError, match=said):
        plugin.read_cli(pulumi(body), "lab", "file:///backend")


def test_missing_pulumi_names_the_option(plugin, tmp_path):
    with pytest.raises(plugin.ContractError, match="pulumi_executable: there is no"):
        plugin.read_cli(str(tmp_path / "none"), "lab", "file:///backend")


# --- the whole, through Ansible -------------------------------------------------------------------------------------


class Ansible:
    """Runs Ansible on an inventory directory and a state directory of its own."""

    def __init__(self, root):
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

    def write(self, contract):
        self.contract.write_text(json.dumps(contract))

    def configure(self, **options):
        options = {"plugin": "pulumi_stack", "deployment": "lab"} | options
        (self.inventory / "pulumi_stack.yml").write_text(yaml.safe_dump(options))

    def run(self, command, *arguments):
        """Run a command that takes an inventory, with ours."""
        return self.run_plain(command, "-i", self.inventory, *arguments)

    def run_plain(self, command, *arguments):
        return subprocess.run(
            [BIN / command, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def list(self, *arguments):
        done = self.run("ansible-inventory", "--list", *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def variables(self, host):
        done = self.run("ansible-inventory", "--host", host)
        assert done.returncode == 0, done.stderr
        return _plain(json.loads(done.stdout))


def _plain(value):
    """Undo how `ansible-inventory` marks text that is no template."""
    if isinstance(value, dict):
        return value.get("__ansible_unsafe") or {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


@pytest.fixture
def ansible(tmp_path):
    return Ansible(tmp_path)


def test_ansible_inventory_lists_the_golden_contract(ansible):
    listed = ansible.list()
    assert set(listed["_meta"]["hostvars"]) == {"pacs1", "pacs2", "pacs3"}
    for group in (*GROUPS, "site_primary"):
        assert listed[group]["hosts"] == ["pacs1", "pacs2", "pacs3"]
    assert listed["zone_rack3"]["hosts"] == ["pacs3"]


def test_ansible_sees_every_promised_variable(ansible):
    variables = ansible.variables("pacs1")
    assert set(variables) - {"ansible_local"} == CONNECTION | ALL | HOST | SITE
    assert variables["hapacs_vip"] == {"address": "10.89.77.10", "prefix": 24, "router_id": 77}
    assert variables["hapacs_callers"] == GOLDEN["sites"]["primary"]["callers"]
    assert variables["hapacs_pki_directory"] == str(ansible.state / "lab" / "pki")


def test_directory_of_the_lab_is_an_inventory(ansible):
    ansible.inventory = ROOT / "inventories/lab"
    done = ansible.run("ansible-inventory", "--graph", "etcd")
    assert done.returncode == 0, done.stderr
    assert [line.strip(" |-") for line in done.stdout.split()] == ["@etcd:", "pacs1", "pacs2", "pacs3"]


def test_nothing_of_the_contract_is_a_template(ansible):
    contract = copy.deepcopy(GOLDEN)
    contract["sites"]["primary"]["callers"][0]["ae_title"] = "{{ 6 * 7 }}"
    ansible.write(contract)
    done = ansible.run(
        "ansible", "pacs1", "-c", "local", "-m", "ansible.builtin.debug", "-a", "msg={{ hapacs_callers[0].ae_title }}"
    )
    assert done.returncode == 0, done.stderr
    assert "{{ 6 * 7 }}" in done.stdout
    assert "42" not in done.stdout


def test_constructed_groups(ansible):
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
def test_strict_refuses_what_it_cannot_compute(ansible, strict):
    ansible.configure(strict=strict, compose={"nonsense": "no_such_variable.field"})
    assert (ansible.run("ansible-inventory", "--list").returncode != 0) is strict


def test_cache_answers_until_it_is_flushed(ansible, tmp_path):
    ansible.configure(cache=True, cache_plugin="jsonfile", cache_connection=str(tmp_path / "cache"))
    before = ansible.list()
    ansible.contract.unlink()
    assert ansible.list() == before
    flushed = ansible.run("ansible-inventory", "--list", "--flush-cache")
    assert flushed.returncode != 0
    assert "`hapacs up` writes it" in flushed.stderr


def test_source_cli_through_ansible(ansible, pulumi):
    ansible.contract.rename(ansible.contract.with_name("answer.json"))
    executable = pulumi(f"cat {ansible.contract.with_name('answer.json')}")
    ansible.configure(source="cli", pulumi_executable=executable)
    assert set(ansible.list()["_meta"]["hostvars"]) == {"pacs1", "pacs2", "pacs3"}


def test_error_through_ansible_names_file_and_field(ansible):
    contract = copy.deepcopy(GOLDEN)
    del contract["sites"]["primary"]["vip"]["router_id"]
    ansible.write(contract)
    done = ansible.run("ansible-inventory", "--list")
    assert done.returncode != 0
    assert "pulumi_stack.yml: sites.primary.vip.router_id: is missing" in done.stderr


def test_unknown_option_is_refused(ansible):
    ansible.configure(keyed_group=[])
    done = ansible.run("ansible-inventory", "--list")
    assert done.returncode != 0
    assert "keyed_group: there is no such option" in done.stderr


def test_documentation_is_complete(ansible):
    done = ansible.run_plain("ansible-doc", "-t", "inventory", "pulumi_stack", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)["pulumi_stack"]
    assert {"plugin", "deployment", "source", "state_directory", "cache", "strict", "keyed_groups"} <= set(
        document["doc"]["options"]
    )
    assert all(option["description"] for option in document["doc"]["options"].values())
    assert "plugin: pulumi_stack" in document["examples"]
