"""The inventory plugin itself, on the golden contract; through Ansible is `test_inventory_through_ansible`."""

import copy
import importlib.util
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.provisioning.golden import ALL, GOLDEN, GROUPS, HOST, LAB, ROOT, SITE

PLUGIN = ROOT / "ansible/plugins/inventory/pulumi_stack.py"


@pytest.fixture(scope="module")
def plugin() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pulumi_stack_under_test", PLUGIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def contract() -> dict[str, Any]:
    return copy.deepcopy(GOLDEN)


@pytest.fixture
def build(plugin: ModuleType) -> Callable[[dict[str, Any]], Any]:
    return lambda contract: plugin.build(contract, "lab", Path("/state/lab"))


@pytest.fixture
def refusal(plugin: ModuleType, build: Callable[..., Any]) -> Callable[[dict[str, Any]], str]:
    """Return a function from a contract to the message with which it is refused."""

    def message(contract: dict[str, Any]) -> str:
        with pytest.raises(plugin.ContractError) as caught:
            build(contract)
        return str(caught.value)

    return message


def test_every_promised_variable_is_there_and_no_other(build: Callable[..., Any], contract: dict[str, Any]) -> None:
    found = build(contract)
    assert set(found.variables) == ALL | {"ansible_ssh_private_key_file", "ansible_ssh_common_args"}
    assert {name: set(variables) for name, variables in found.group_variables.items()} == {"site_primary": SITE}
    for variables in found.host_variables.values():
        assert set(variables) == HOST | {"ansible_host", "ansible_port", "ansible_user"}


def test_host_of_the_golden_contract(build: Callable[..., Any], contract: dict[str, Any]) -> None:
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
        "hapacs_backups_kept": [],
    }


def test_groups_of_the_golden_contract(build: Callable[..., Any], contract: dict[str, Any]) -> None:
    groups = build(contract).host_groups
    assert {host: set(names) for host, names in groups.items()} == {
        f"pacs{number}": {"site_primary", f"zone_rack{number}", *GROUPS} for number in (1, 2, 3)
    }


def test_each_site_has_its_own_variables(build: Callable[..., Any]) -> None:
    found = build(copy.deepcopy(LAB))
    assert found.host_groups["dr1"] == ["site_dr", "zone_dr_rack1", *GROUPS]
    members = {name: variables["hapacs_members"]["etcd"] for name, variables in found.group_variables.items()}
    assert {name: [member["name"] for member in etcd] for name, etcd in members.items()} == {
        "site_primary": ["pacs1", "pacs2", "pacs3"],
        "site_dr": ["dr1"],
    }


def test_both_ends_of_a_backup_know_each_other(build: Callable[..., Any]) -> None:
    contract = copy.deepcopy(LAB)
    contract["sites"]["primary"]["backup"] = {"host": "dr1", "hour": 2, "keep_full": 5}
    found = build(contract)
    assert found.group_variables["site_primary"]["hapacs_backup"] == {
        "host": "dr1", "address": "10.89.76.11", "hour": 2, "keep_full": 5,
    }  # fmt: skip
    assert found.group_variables["site_dr"]["hapacs_backup"] == {}
    (kept,) = found.host_variables["dr1"]["hapacs_backups_kept"]
    assert (kept["stanza"], kept["hour"], kept["keep_full"]) == ("lab-primary", 2, 5)
    assert [member["name"] for member in kept["members"]] == ["pacs1", "pacs2", "pacs3"]
    assert found.host_variables["pacs1"]["hapacs_backups_kept"] == []


def test_backup_at_an_unknown_node_is_refused(refusal: Callable[[Any], str], contract: dict[str, Any]) -> None:
    contract["sites"]["primary"]["backup"] = {"host": "elsewhere", "hour": 2, "keep_full": 5}
    assert refusal(contract) == "sites.primary.backup.host: names 'elsewhere', which is no node"


def test_members_carry_name_address_and_zone(build: Callable[..., Any], contract: dict[str, Any]) -> None:
    contract["sites"]["primary"]["members"]["etcd"] = ["pacs3"]
    members = build(contract).group_variables["site_primary"]["hapacs_members"]
    assert set(members) == set(GROUPS)
    assert members["etcd"] == [{"name": "pacs3", "address": "10.89.77.13", "zone": "rack3"}]


def test_ssh_trusts_only_the_deployments_own_host_keys(plugin: ModuleType, contract: dict[str, Any]) -> None:
    arguments = plugin.build(contract, "lab", Path("/with space/lab")).variables["ansible_ssh_common_args"]
    assert "-o 'UserKnownHostsFile=\"/with space/lab/ssh/known_hosts\"'" in arguments
    assert "StrictHostKeyChecking=yes" in arguments


def leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key)
            yield from leaves(item, (*path, key))


# Nodes are told apart below. The plugin reads no role, a worklist and another site are optional, and without the site
# there is no node.
ELSEWHERE = re.compile(r"sites\.primary(\.role|\.worklist|\.routing\.second_site.*|\.nodes\.pacs\d)?")


@pytest.mark.parametrize("path", [path for path in map(".".join, leaves(GOLDEN)) if not ELSEWHERE.fullmatch(path)])
def test_missing_field_is_named(refusal: Callable[[dict[str, Any]], str], contract: dict[str, Any], path: str) -> None:
    *parents, last = path.split(".")
    place = contract
    for key in parents:
        place = place[key]
    del place[last]
    assert refusal(contract) == f"{path}: is missing; `hapacs up` writes the contract of this release"


def test_node_that_is_gone_is_missed_by_its_groups(
    refusal: Callable[[dict[str, Any]], str], contract: dict[str, Any]
) -> None:
    del contract["sites"]["primary"]["nodes"]["pacs2"]
    assert refusal(contract).startswith("sites.primary.members.etcd: names 'pacs2'")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("schema_version", 2, "use the plugin and the program of one release"),
        ("schema_version", "1", "has to be a whole number"),
        ("deployment", "other", "'lab' was requested"),
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
def test_wrong_field_is_named(
    refusal: Callable[[dict[str, Any]], str], contract: dict[str, Any], path: str, value: object, said: str
) -> None:
    *parents, last = path.split(".")
    place = contract
    for key in parents:
        place = place[key]
    place[last] = value
    message = refusal(contract)
    assert message.startswith(path)
    assert said in message


def test_two_sites_never_share_a_host(refusal: Callable[[dict[str, Any]], str], contract: dict[str, Any]) -> None:
    contract["sites"]["dr"] = copy.deepcopy(contract["sites"]["primary"])
    assert refusal(contract) == "sites.dr.nodes.pacs1: another site has a node of this name"


def test_state_directory_follows_the_platform(plugin: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert plugin.state_directory(None) == Path("/xdg/hapacs")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/operator")
    assert plugin.state_directory(None) == Path("/home/operator/.local/state/hapacs")
    assert plugin.state_directory("/given") == Path("/given")


def test_cli_asks_the_stack_for_its_output(plugin: ModuleType, pulumi: Callable[[str], str]) -> None:
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
def test_failure_of_the_cli_is_told(plugin: ModuleType, pulumi: Callable[[str], str], body: str, said: str) -> None:
    with pytest.raises(plugin.ContractError, match=said):
        plugin.read_cli(pulumi(body), "lab", "file:///backend")


def test_missing_pulumi_names_the_option(plugin: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(plugin.ContractError, match="pulumi_executable: there is no"):
        plugin.read_cli(str(tmp_path / "none"), "lab", "file:///backend")


def test_every_field_that_the_schema_requires_is_required(
    refusal: Callable[[dict[str, Any]], str], contract: dict[str, Any], plugin: ModuleType
) -> None:
    required = json.loads(plugin.SCHEMA.read_text())["$defs"]["ContractPolicy"]["required"]
    for name in required:
        broken = copy.deepcopy(contract)
        del broken["sites"]["primary"]["policy"][name]
        assert refusal(broken).startswith(f"sites.primary.policy.{name}: is missing")
