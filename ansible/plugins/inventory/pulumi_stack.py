# SPDX-License-Identifier: AGPL-3.0-or-later
"""The inventory plugin `pulumi_stack`: hosts and groups from the inventory contract of a Pulumi stack."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleParserError

from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from hapacs.services.model import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENTATION = r"""
name: pulumi_stack
short_description: The nodes of a hapacs deployment, as its Pulumi program exports them
author: hapacs
description:
  - Reads the inventory contract (the stack output C(inventory), see C(pulumi/hapacs/contract.schema.json)) and makes
    of it hosts, the groups C(etcd), C(postgres), C(cas), C(pacs), C(load_balancer) and C(monitoring), one group
    C(site_<name>) for each site and one group C(zone_<name>) for each zone.
  - All variables it sets are plain data that begin with C(hapacs_), besides those with which Ansible connects.
  - The configuration file is named C(pulumi_stack.yml) or ends with C(.pulumi_stack.yml).
options:
  plugin:
    description: Identifies a file of this plugin.
    required: true
    choices: [pulumi_stack]
  deployment:
    description: Name of the deployment, which is the name of its Pulumi stack.
    type: str
    required: true
  source:
    description:
      - C(file) reads the contract that C(hapacs up) wrote into the state directory.
      - C(cli) asks C(pulumi stack output inventory); for stacks that were brought up with a bare C(pulumi up).
    type: str
    choices: [file, cli]
    default: file
  state_directory:
    description:
      - Directory that holds, for each deployment, one directory of state; contract, SSH key, known hosts and
        certificate authorities are there.
      - By default C($XDG_STATE_HOME/hapacs), or C(~/.local/state/hapacs).
    type: path
    env:
      - name: HAPACS_STATE_DIR
  contract:
    description:
      - File that holds the contract, when I(source=file). By default C(inventory.json) in the deployment's state.
      - C(hapacs plan --configuration) gives the one of the changed settings.
    type: path
    env:
      - name: HAPACS_CONTRACT
  pulumi_executable:
    description: The C(pulumi) executable for I(source=cli).
    type: str
    default: pulumi
  backend_url:
    description:
      - Where Pulumi keeps its state, when I(source=cli).
      - By default the directory C(pulumi) in the deployment's state.
    type: str
    env:
      - name: PULUMI_BACKEND_URL
extends_documentation_fragment:
  - constructed
  - inventory_cache
notes:
  - With I(source=cli) a passphrase, where the stack has one, is taken by Pulumi from its own environment variables.
"""

EXAMPLES = r"""
# inventories/lab/pulumi_stack.yml
plugin: pulumi_stack
deployment: lab

# Read the output of Pulumi's own command, cache it, and add groups.
# plugin: pulumi_stack
# deployment: example-hospital
# source: cli
# cache: true
# cache_plugin: jsonfile
# cache_connection: /var/cache/hapacs
# compose:
#   rack_number: hapacs_zone | regex_search('[0-9]+')
# groups:
#   voters: hapacs_node in hapacs_members.etcd | map(attribute='name')
# keyed_groups:
#   - {key: hapacs_target, prefix: target}
"""

SCHEMA_VERSION = 1
SCHEMA = Path(__file__).resolve().parents[3] / "pulumi" / "hapacs" / "contract.schema.json"
CLI_TIMEOUT_S = 120


class ContractError(ValueError):
    """The contract is invalid; the message begins with the path of the field."""


class Reader:
    """A value of the contract with its path, so that every error names its field."""

    def __init__(self, value: object, path: str = "") -> None:
        self.value = value
        self.path = path

    def refuse(self, wanted: str) -> ContractError:
        """Return an error that names this field."""
        found = type(self.value).__name__
        return ContractError(f"{self.path or 'the contract'}: has to be {wanted}, but is {found}")

    def __getitem__(self, key: str) -> Reader:
        path = f"{self.path}.{key}" if self.path else key
        if not isinstance(self.value, dict):
            raise self.refuse("a mapping")
        if key not in self.value:
            raise ContractError(f"{path}: is missing; `hapacs up` writes the contract of this release")
        return Reader(self.value[key], path)

    def items(self) -> Iterator[tuple[str, Reader]]:
        """Yield the keys and values of a mapping."""
        if not isinstance(self.value, dict):
            raise self.refuse("a mapping")
        for key in self.value:
            yield str(key), self[key]

    def elements(self) -> Iterator[Reader]:
        """Yield the elements of a list."""
        if not isinstance(self.value, list):
            raise self.refuse("a list")
        for index, value in enumerate(self.value):
            yield Reader(value, f"{self.path}.{index}")

    def text(self) -> str:
        """Return a string that isn't empty."""
        if not isinstance(self.value, str) or not self.value:
            raise self.refuse("text")
        return self.value

    def integer(self) -> int:
        """Return a whole number."""
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise self.refuse("a whole number")
        return self.value

    def texts(self, *, may_be_empty: bool = False) -> list[str]:
        """Return a list of strings, of at least one unless it may be empty."""
        values = [element.text() for element in self.elements()]
        if not values and not may_be_empty:
            raise ContractError(f"{self.path}: is empty")
        return values

    def mapping(self, model: str) -> dict[str, Any]:
        """Return a mapping as it is, after making sure that no key of a model is missing, at any depth.

        Only what may be null is left out of a contract; what has another default is written nevertheless.
        """
        for key, field_schema in _schema()["$defs"][model]["properties"].items():
            if "default" in field_schema and field_schema["default"] is None:
                continue
            nested = field_schema.get("$ref", "").rpartition("/")[2]
            if "properties" in _schema()["$defs"].get(nested, {}):
                self[key].mapping(nested)
            else:
                self[key]
        return {key: value.value for key, value in self.items()}


@cache
def _schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return found


@dataclass
class Inventory:
    """Hosts and groups as plain data, independent of Ansible."""

    variables: dict[str, Any]
    group_variables: dict[str, dict[str, Any]] = field(default_factory=dict)
    host_variables: dict[str, dict[str, Any]] = field(default_factory=dict)
    host_groups: dict[str, list[str]] = field(default_factory=dict)


def build(contract: object, deployment: str, state: Path) -> Inventory:
    """Build hosts and groups from a contract.

    Parameters
    ----------
    contract
        The contract as JSON gives it.
    deployment
        The deployment that was asked for; the contract of another one is refused.
    state
        The deployment's own state directory.

    Raises
    ------
    ContractError
        Naming the field that is missing or wrong.
    """
    root = Reader(contract)
    version = root["schema_version"].integer()
    if version != SCHEMA_VERSION:
        raise ContractError(
            f"schema_version: is {version}, but this plugin reads {SCHEMA_VERSION}; "
            "use the plugin and the program of one release"
        )
    if (found := root["deployment"].text()) != deployment:
        raise ContractError(f"deployment: is {found!r}, but {deployment!r} was requested")
    known_hosts = shlex.quote(f'UserKnownHostsFile="{state / "ssh" / "known_hosts"}"')
    inventory = Inventory(
        {
            "ansible_ssh_private_key_file": str(state / "ssh" / "id_ed25519"),
            "ansible_ssh_common_args": f"-o {known_hosts} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes",
            "hapacs_deployment": deployment,
            "hapacs_target": root["target"].text(),
            "hapacs_sizing": root["sizing"].text(),
            "hapacs_state_directory": str(state),
            "hapacs_pki_directory": str(state / "pki"),
        }
    )
    for name, site in root["sites"].items():
        _add_site(inventory, name, site)
    for name, site in root["sites"].items():
        _add_backup(inventory, name, site)
    if not inventory.host_variables:
        raise ContractError("sites: no site has a node")
    return inventory


def _add_site(inventory: Inventory, name: str, site: Reader) -> None:
    nodes = dict(site["nodes"].items())
    for host, node in nodes.items():
        if host in inventory.host_variables:
            raise ContractError(f"{node.path}: another site has a node of this name")
        zone = node["zone"].text()
        management = node["management_address"].text()
        inventory.host_variables[host] = {
            "ansible_host": management,
            "ansible_port": node["ssh_port"].integer(),
            "ansible_user": node["ssh_user"].text(),
            "hapacs_node": host,
            "hapacs_site": name,
            "hapacs_zone": zone,
            "hapacs_address": node["address"].text(),
            "hapacs_management_address": management,
            "hapacs_das_devices": node["das_devices"].texts(may_be_empty=True),
            "hapacs_das_wipe_serials": node["das_wipe_serials"].texts(may_be_empty=True),
            "hapacs_data_directory": node["data_directory"].text(),
            "hapacs_backups_kept": [],
        }
        inventory.host_groups[host] = [f"site_{name}", f"zone_{zone}"]
    members: dict[str, list[dict[str, str]]] = {}
    for group in GROUPS:
        listed = site["members"][group]
        members[group] = []
        for host in listed.texts():
            if host not in nodes:
                raise ContractError(f"{listed.path}: names {host!r}, which is no node of the site")
            inventory.host_groups[host].append(group)
            members[group].append(
                {"name": host, "address": nodes[host]["address"].text(), "zone": nodes[host]["zone"].text()}
            )
    inventory.group_variables[f"site_{name}"] = {
        "hapacs_members": members,
        "hapacs_vip": site["vip"].mapping("ContractVip"),
        "hapacs_cluster_network": site["cluster_network"].text(),
        "hapacs_management_networks": site["management_networks"].texts(),
        "hapacs_client_networks": site["client_networks"].texts(),
        "hapacs_replicators": site["replicators"].texts(may_be_empty=True),
        "hapacs_dicom": site["dicom"].mapping("ContractDicom"),
        "hapacs_https_port": site["https_port"].integer(),
        "hapacs_callers": [caller.mapping("Caller") for caller in site["callers"].elements()],
        "hapacs_policy": site["policy"].mapping("ContractPolicy"),
        "hapacs_monitoring": site["monitoring"].mapping("ContractMonitoring"),
        "hapacs_routing": site["routing"].mapping("ContractRouting"),
        # A site has none unless its settings name one.
        "hapacs_worklist": site["worklist"].mapping("ContractWorklist") if "worklist" in dict(site.items()) else {},
    }


def _add_backup(inventory: Inventory, name: str, site: Reader) -> None:
    """Say at the site where its backups go, and at the node that keeps them whose they are."""
    variables = inventory.group_variables[f"site_{name}"]
    if "backup" not in site.mapping("ContractSite"):
        variables["hapacs_backup"] = {}
        return
    backup = site["backup"].mapping("ContractBackup")
    if backup["host"] not in inventory.host_variables:
        raise ContractError(f"{site.path}.backup.host: names {backup['host']!r}, which is no node")
    host = inventory.host_variables[backup["host"]]
    variables["hapacs_backup"] = backup | {"address": host["hapacs_address"]}
    members = [{key: node[key] for key in ("name", "address")} for node in variables["hapacs_members"]["postgres"]]
    host["hapacs_backups_kept"].append(
        {"stanza": f"{inventory.variables['hapacs_deployment']}-{name}", "members": members}
        | {key: backup[key] for key in ("hour", "keep_full")}
    )


def state_directory(given: str | None) -> Path:
    """Return the directory that holds every deployment's state."""
    if given:
        return Path(given).absolute()
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "hapacs"


def read_file(path: Path) -> object:
    """Read the contract that `hapacs up` or `hapacs plan` wrote."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ContractError(f"{path}: no such file; `hapacs up` writes it") from None
    except (OSError, ValueError) as error:
        raise ContractError(f"{path}: can't be read: {error}") from error


def read_cli(executable: str, deployment: str, backend_url: str) -> object:
    """Read the stack's output through Pulumi's command."""
    program = Path(__file__).resolve().parents[3] / "pulumi"
    command = [executable, "stack", "output", "inventory", "--json", "--non-interactive", "--stack", deployment]
    environment = os.environ | {"PULUMI_BACKEND_URL": backend_url, "PULUMI_SKIP_UPDATE_CHECK": "1"}
    try:
        done = subprocess.run(
            command, cwd=program, env=environment, capture_output=True, text=True, timeout=CLI_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise ContractError(f"pulumi_executable: there is no {executable!r}; `make setup` installs one") from None
    except subprocess.TimeoutExpired:
        raise ContractError(f"`{shlex.join(command)}` took more than {CLI_TIMEOUT_S} s") from None
    if done.returncode != 0:
        raise ContractError(f"`{shlex.join(command)}` failed: {done.stderr.strip()}")
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        raise ContractError(f"`{shlex.join(command)}` printed no JSON: {error}") from error


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """The inventory plugin."""

    NAME = "pulumi_stack"

    def verify_file(self, path: str) -> bool:
        """Return whether a file belongs to this plugin."""
        return super().verify_file(path) and path.endswith(("pulumi_stack.yml", "pulumi_stack.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill Ansible's inventory."""
        super().parse(inventory, loader, path, cache)
        unknown = sorted(set(self._read_config_data(path)) - set(self.option_definitions))
        if unknown:
            raise AnsibleParserError(
                f"{path}: {', '.join(unknown)}: there is no such option; remove it or correct its name"
            )
        deployment = self.get_option("deployment")
        state = state_directory(self.get_option("state_directory")) / deployment
        try:
            found = build(self._contract(path, deployment, state, cache), deployment, state)
        except ContractError as error:
            raise AnsibleParserError(f"{path}: {error}") from error
        self._fill(found, inventory)

    def _contract(self, path: str, deployment: str, state: Path, cache: bool) -> object:
        key = self.get_cache_key(path)
        cached = self.get_option("cache")
        if cached and cache and key in self._cache:
            return self._cache[key]
        if self.get_option("source") == "cli":
            backend_url = self.get_option("backend_url") or f"file://{state / 'pulumi'}"
            contract = read_cli(self.get_option("pulumi_executable"), deployment, backend_url)
        else:
            contract = read_file(Path(self.get_option("contract") or state / "inventory.json"))
        if cached:
            self._cache[key] = contract
        return contract

    def _fill(self, found: Inventory, inventory: Any) -> None:
        for name, value in found.variables.items():
            inventory.set_variable("all", name, value)
        for group, variables in found.group_variables.items():
            inventory.add_group(group)
            for name, value in variables.items():
                inventory.set_variable(group, name, value)
        strict = self.get_option("strict")
        for host, variables in found.host_variables.items():
            inventory.add_host(host)
            for name, value in variables.items():
                inventory.set_variable(host, name, value)
            for group in found.host_groups[host]:
                inventory.add_group(group)
                inventory.add_child(group, host)
        # After all hosts exist, so that constructed groups can read group variables of every site.
        for host in found.host_variables:
            known = inventory.get_host(host)
            facts = known.get_vars() | found.variables
            for above in known.get_groups():
                facts |= above.get_vars()
            facts |= found.host_variables[host]
            self._set_composite_vars(self.get_option("compose"), facts, host, strict=strict)
            self._add_host_to_composed_groups(self.get_option("groups"), facts, host, strict=strict)
            self._add_host_to_keyed_groups(self.get_option("keyed_groups"), facts, host, strict=strict)
