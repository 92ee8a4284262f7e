"""What holds for every role: its shape, and that what it documents is what it takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from hapacs.errors import RefusedError
from hapacs.rotation import KINDS, names
from hapacs.secrets import SECRETS
from hapacs.services import nodes, table
from hapacs.services.model import GROUPS
from tests.unit.ansible.loading import ANSIBLE

ROLES = sorted(path for path in (ANSIBLE / "roles").iterdir() if path.is_dir())
MAPPINGS = sorted((ANSIBLE / "playbooks" / "group_vars" / "all").glob("*.yml"))
# Read by the playbooks themselves or by Ansible, not by a role.
OF_PLAYBOOKS = {
    "mitogen_ssh_keepalive_count",
    "mitogen_ssh_keepalive_interval",
    "rotation_passwords",
}
# What roles get through group_vars only, so that they can be used without our inventory.
OF_THE_INVENTORY = re.compile(
    r"group_names|groups\[|\bhapacs_(?:members|vip|dicom|policy|callers|address|management_address|das_devices|"
    r"data_directory|cluster_network|management_networks|client_networks|https_port|deployment|target|site|zone|"
    r"pki_directory|secret_\w+)\b"
)
# Of another host a role may ask only for what it has set there itself: an internal variable of its own.
HOSTVARS = re.compile(r"\bhostvars\b(?:, '(\w+)'\))?")
TYPES: dict[object, Any] = {"str": str, "int": int, "bool": bool, "list": list, "dict": dict, "float": (int, float)}

each_role = pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def specification(role: Path) -> dict[str, Any]:
    options: dict[str, Any] = read(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    return options


def test_there_are_roles() -> None:
    assert {"base", "pki", "das", "etcd", "postgres"} <= {role.name for role in ROLES}


@each_role
def test_role_documents_exactly_its_variables(role: Path) -> None:
    documented = {name: option.get("default") for name, option in specification(role).items() if "default" in option}
    assert documented == read(role / "defaults" / "main.yml")


@each_role
def test_variable_without_default_is_required(role: Path) -> None:
    without = {name for name, option in specification(role).items() if "default" not in option}
    required = {name for name, option in specification(role).items() if option.get("required")}
    assert without == required


@each_role
def test_every_argument_has_the_roles_name_a_type_and_a_description(role: Path) -> None:
    for name, option in specification(role).items():
        assert name.startswith(f"{role.name}_"), name
        assert option["description"].strip(), name
        assert option["type"] in TYPES, name
        if isinstance(default := option.get("default"), str) and "{{" in default:
            continue
        assert default is None or isinstance(default, TYPES[option["type"]]), name


@each_role
def test_internal_variables_have_the_internal_prefix(role: Path) -> None:
    for name in read(role / "vars" / "main.yml") or {} if (role / "vars").is_dir() else {}:
        assert name.startswith(f"__{role.name}_"), name


@each_role
def test_a_role_has_the_common_shape(role: Path) -> None:
    assert (role / "README.md").is_file()
    assert (role / "meta" / "main.yml").is_file()
    for part in ("main", "preflight", "configure"):
        assert (role / "tasks" / f"{part}.yml").is_file(), part
    assert not (role / "handlers").exists(), (
        "a restart is a task with service_current: a handler is lost on interruption"
    )


@each_role
def test_a_role_names_no_group_and_reads_no_inventory_variable(role: Path) -> None:
    paths = [path for part in ("tasks", "templates", "vars", "defaults") for path in role.glob(f"{part}/*")]
    assert paths
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert not OF_THE_INVENTORY.findall(text), path
        foreign = [name for name in HOSTVARS.findall(text) if not name.startswith(f"__{role.name}_")]
        assert not foreign, f"{path} takes more of another host than variables of its own role: {foreign}"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{{ hosts | map('extract', hostvars, '__etcd_made') }}", ["__etcd_made"]),
        ("{{ hosts | map('extract', hostvars) | map(attribute='x') }}", [""]),
        ("{{ hostvars['n1'].hapacs_drained }}", [""]),
        ("{{ vars.hostvars.n1 }}", [""]),
    ],
)
def test_every_use_of_hostvars_is_found(text: str, names: list[str]) -> None:
    assert HOSTVARS.findall(text) == names


@pytest.mark.parametrize("path", MAPPINGS, ids=lambda path: path.stem)
def test_the_playbooks_set_only_what_a_role_takes(path: Path) -> None:
    taken = {name for role in ROLES for name in specification(role)}
    assert set(read(path)) <= taken | OF_PLAYBOOKS


def test_every_role_with_an_install_half_is_in_the_table_and_no_other() -> None:
    listed = nodes.roles(GROUPS)
    assert set(listed) == {role.name for role in ROLES if (role / "tasks" / "install.yml").exists()}


def test_site_yml_applies_the_roles_of_the_table_in_its_order() -> None:
    plays = read(ANSIBLE / "playbooks" / "site.yml")
    applied = {play["hosts"].partition(":")[0]: play["roles"] for play in plays if "roles" in play}
    # The authorities are made on the controller, which has no services.
    assert [role for role in applied.pop("installed") if role != "pki"] == nodes.roles([])
    system = set(nodes.roles([]))
    assert applied == {group: [role for role in nodes.roles([group]) if role not in system] for group in applied}
    assert set(applied) == {service.group for service in table.SERVICES if service.group}


@pytest.mark.parametrize(
    "role", [pytest.param(path, id=path.name) for path in ROLES if (path / "tasks" / "current.yml").exists()]
)
def test_what_restarts_for_new_files_is_where_operations_find_it(role: Path) -> None:
    # `rotate` and `renew` take a role's `current.yml`: what only `run.yml` restarts would keep the former secrets.
    restarted = [
        task["name"] for task in read(role / "tasks" / "run.yml") if "files" in task.get("service_current", {})
    ]
    assert restarted == []


def test_every_secret_belongs_to_one_kind_or_is_refused_with_a_reason() -> None:
    named = [name for kind in KINDS for name in names(kind)]
    assert len(named) == len(set(named))
    assert set(named) == set(SECRETS) - {
        "hapacs_secret_backup",
        "hapacs_secret_pulumi_passphrase",
        "hapacs_secret_routing",
        "hapacs_secret_monitoring",
    }
    for kind, reason in (
        ("backup", "can't be read"),
        ("pulumi", "change-secrets-provider"),
        ("routing", "Other systems choose"),
        ("monitoring", "Other systems choose"),
    ):
        with pytest.raises(RefusedError) as refused:
            names(kind)
        assert reason in str(refused.value.hint)


@each_role
def test_a_role_uses_no_variable_of_its_name_that_nobody_sets(role: Path) -> None:
    paths = [path for part in ("tasks", "templates", "vars", "defaults") for path in role.glob(f"{part}/*.*")]
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    known = set(specification(role)) | set(read(role / "vars" / "main.yml") if (role / "vars").is_dir() else {})
    # What a task registers, sets or gives to another one.
    known |= {
        name for text in texts.values() for name in re.findall(r"^\s+(?:register: )?(__\w+)\b", text, re.MULTILINE)
    }
    # A word that names a variable, not a part of a path, a file's name or a tag.
    word = re.compile(rf"(?<![\w/.\-\[])((?:__)?{role.name}_[a-z][a-z0-9_]*)\b(?![-./(\]])")
    used = {
        name
        for text in texts.values()
        for part in re.findall(r"\{[{%].*?[%}]\}", text, re.DOTALL)
        for name in word.findall(part)
    }
    assert used - known == set()


@each_role
def test_readme_names_existing_variables_only(role: Path) -> None:
    text = (role / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(rf"`({role.name}_\w+)(\*)?`", text))
    taken = set(specification(role))
    for name, star in named:
        assert [it for it in taken if (it.startswith(name) if star else it == name)], name
