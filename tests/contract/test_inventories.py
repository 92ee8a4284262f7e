"""Golden inventories: what settings come to for three kinds of deployment, from the program through to Ansible's hosts.

``<name>.json`` is the inventory contract and ``<name>.hosts.json`` what the inventory plugin and the firewall's table
make of it for each host. After a wanted change: ``UPDATE_GOLDEN=1 .venv/bin/pytest tests/contract`` writes the files
again; look at the difference before you commit it.
"""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml

from hapacs import contract
from hapacs.services import nodes
from hapacs.settings import load, parse
from hapacs.targets import static
from tests.contract import pulumi_mocks
from tests.contract.test_contract import ROOT, SCHEMA, same_as_committed

HERE = Path(__file__).parent
SETTINGS = {
    "lab": lambda: load(ROOT / "inventories/lab/settings.yaml"),
    "example-hospital": lambda: load(ROOT / "inventories/example-hospital/settings.yaml"),
    "split": lambda: parse(yaml.safe_load((HERE / "settings/split.yaml").read_text())),
}


def plugin(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"golden_{Path(path).stem}", ROOT / "ansible/plugins" / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=SETTINGS)
def deployment(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """A name and the contract that the program exports for it; machines that exist are passed on and not asked."""
    settings = SETTINGS[request.param]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(static, "ask_all", lambda *_: {})
        target = static.create(settings, Path("/state")) if settings.target.kind == "static" else None
        return request.param, pulumi_mocks.run(settings, target).inventory


@pytest.fixture(scope="module")
def hosts(deployment: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """What each host of the inventory is in, which roles it gets and whom it lets in."""
    name, exported = deployment
    found = plugin("inventory/pulumi_stack.py").build(exported, name, Path("/state") / name)
    rules = plugin("filter/services.py").firewall_rules
    result = {}
    for host, groups in found.host_groups.items():
        site = found.group_variables[groups[0]]
        kept = found.host_variables[host]["hapacs_backups_kept"]
        networks = {
            "management": site["hapacs_management_networks"],
            "clients": site["hapacs_client_networks"],
            "replicators": site["hapacs_replicators"],
            "backup_host": [site["hapacs_backup"]["address"]] if site["hapacs_backup"] else [],
            "backed_up": [member["address"] for one in kept for member in one["members"]],
        }
        ports = {"dicom": site["hapacs_dicom"], "https_port": site["hapacs_https_port"]}
        result[host] = {
            "groups": groups,
            "reached_at": found.host_variables[host]["ansible_host"],
            "roles": nodes.roles(groups),
            "lets_in": {
                rule["match"]: rule["sources"] for rule in rules(groups, site["hapacs_members"], networks, ports)
            },
        }
    return result


def test_program_exports_the_golden_contract(deployment: tuple[str, dict[str, Any]]) -> None:
    name, exported = deployment
    same_as_committed(HERE / f"{name}.json", contract.to_text(exported))
    jsonschema.validate(exported, json.loads(SCHEMA.read_text()))


def test_hosts_are_the_golden_ones(deployment: tuple[str, dict[str, Any]], hosts: dict[str, Any]) -> None:
    name, _ = deployment
    same_as_committed(HERE / f"{name}.hosts.json", contract.to_text(hosts))


def test_host_opens_only_ports_of_its_groups(hosts: dict[str, Any]) -> None:
    for host in hosts.values():
        assert ("tcp dport { 5432 }" in host["lets_in"]) == ("postgres" in host["groups"])
        assert ("tcp dport { 8333 }" in host["lets_in"]) == ("cas" in host["groups"])
        assert ("ip protocol vrrp" in host["lets_in"]) == ("load_balancer" in host["groups"])


def test_only_backups_reach_a_node_of_another_site(
    deployment: tuple[str, dict[str, Any]], hosts: dict[str, Any]
) -> None:
    name, exported = deployment
    addresses = {
        site: {node["address"] for node in values["nodes"].values()} for site, values in exported["sites"].items()
    }
    site_of = {node: site for site, values in exported["sites"].items() for node in values["nodes"]}
    kept_by = {
        site: site_of[values["backup"]["host"]] for site, values in exported["sites"].items() if "backup" in values
    }
    for host in hosts.values():
        own = host["groups"][0].removeprefix("site_")
        others = set().union(*(found for site, found in addresses.items() if site != own), set())
        open_to_others = {match for match, sources in host["lets_in"].items() if others & set(sources)}
        ports = {nodes.port("pgbackrest-repository", "archive")} if own in kept_by.values() else set()
        ports |= {nodes.port("pgbackrest-database", "backup")} if own in kept_by else set()
        assert open_to_others == {f"tcp dport {{ {port} }}" for port in ports}, name
