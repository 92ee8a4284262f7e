"""`hapacs plan` with the real engine and the real Ansible, on machines that exist and answer that all is well."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from hapacs import backport, cli, contract, image, playbook, secrets, wheelhouse
from hapacs.changes import Change, Changes
from hapacs.deployment import PROJECT, PULUMI_VERSION, Deployment, cache_directory
from hapacs.engine import Engine
from hapacs.errors import ExitCode, RefusedError

type Edit = Callable[[dict[str, Any]], object]

needs_engine = pytest.mark.skipif(
    not (cache_directory() / "pulumi" / PULUMI_VERSION / "pulumi").exists() and shutil.which("pulumi") is None,
    reason="`make setup` installs the Pulumi engine",
)

PLAYBOOK = """
- name: Print what the contract says
  hosts: all
  connection: local
  gather_facts: false
  tasks:
    - name: Compare the retention
      ansible.builtin.debug:
        msg: >-
          retention {{ hapacs_policy.retention_days }} of {{ hapacs_callers | map(attribute='ae_title') | join('+') }}
      changed_when: hapacs_policy.retention_days == 4000
"""


def edit(deployment: Deployment, change: Edit) -> Deployment:
    """Change the settings file, and return the deployment with its settings not read yet."""
    file = deployment.directory / "settings.yaml"
    settings = yaml.safe_load(file.read_text())
    change(settings)
    file.write_text(yaml.safe_dump(settings))
    return replace(deployment)


def machines_exist(settings: dict[str, Any]) -> None:
    del settings["sites"]["dr"], settings["sites"]["primary"]["backup"]
    del settings["sites"]["primary"]["policy"]["replicate"]
    settings["target"] = {"kind": "static"}
    for name, node in settings["sites"]["primary"]["nodes"].items():
        node["das_devices"] = [f"/dev/disk/by-id/{name}-a", f"/dev/disk/by-id/{name}-b"]
    for caller in settings["callers"]:
        caller["networks"].remove("10.89.76.1/32")


def new_policy_and_caller(settings: dict[str, Any]) -> None:
    settings["sites"]["primary"]["policy"]["retention_days"] = 4000
    settings["callers"].append({"ae_title": "CT7", "networks": ["10.89.77.50/32"], "may": ["store"]})


@pytest.fixture
def hospital(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Deployment:
    """A deployment of machines that exist, with secrets, and with a playbook of one task for the roles."""
    monkeypatch.setattr("hapacs.targets.static.ask_all", lambda *_: {})
    monkeypatch.setattr(image, "identifier", lambda: "abc")
    monkeypatch.setattr(image, "package_variables", dict)
    monkeypatch.setattr(wheelhouse, "ensure", lambda: None)
    monkeypatch.setattr(backport, "ensure", lambda _on_step: None)
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "site.yml").write_text(PLAYBOOK)
    monkeypatch.setattr(playbook, "_PLAYBOOKS", tmp_path / "playbooks")
    shutil.copy(PROJECT / "inventories" / "lab" / "pulumi_stack.yml", deployment.directory)
    return edit(replace(deployment, cache=cache_directory()), machines_exist)


def call(monkeypatch: pytest.MonkeyPatch, deployment: Deployment, *words: str) -> Result:
    monkeypatch.setattr(Deployment, "load", lambda _name: replace(deployment))
    return CliRunner().invoke(cli.app, ["plan", "lab", *words], catch_exceptions=False)


@needs_engine
def test_changed_settings_are_planned_and_the_check_gets_their_contract(
    hospital: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets.ensure(hospital)
    Engine(hospital).up()
    hospital.unfinished_file.unlink()
    before = hospital.contract_file.read_text()
    assert "The settings are those of the last `hapacs up`." in call(monkeypatch, hospital).stdout
    unchanged = json.loads(call(monkeypatch, hospital, "--configuration", "--json").stdout)
    assert (unchanged["settings"], unchanged["configuration"]["changed"]) == ([], 0)

    changed = edit(hospital, new_policy_and_caller)

    said = call(monkeypatch, changed).stdout
    assert "policy.retention_days  1 -> 4000" in said
    assert "callers.CT7            added: networks 10.89.77.50/32, may store" in said
    document = json.loads(call(monkeypatch, changed, "--configuration", "--json").stdout)
    assert {"path": "sites.primary.policy.retention_days", "before": 1, "after": 4000} in document["settings"]
    assert document["configuration"]["tasks"] == {"Compare the retention": ["pacs1", "pacs2", "pacs3"]}
    assert document["configuration"]["not_asked"] == []
    log = max(changed.logs.glob("*-site.log")).read_text()
    assert "retention 4000 of MODALITY+WORKSTATION+CT7+HAPACS_PROBE+HAPACS_VERIFY" in log
    # The contract of the last `up` stays, so that everything else goes on with what the nodes have.
    assert changed.contract_file.read_text() == before
    assert contract.read(changed.planned_contract_file) != json.loads(before)


@needs_engine
def test_first_plan_of_a_lab_knows_its_nodes_and_asks_none(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "tag", lambda: "image:1")
    lab = replace(deployment, cache=cache_directory())
    secrets.ensure(lab)
    said = call(monkeypatch, lab, "--configuration").stdout
    assert "create  LabNode     pacs1" in said
    assert "No node is configured yet" in said
    assert "Not asked, because `hapacs up` makes or changes the machine first: pacs1, pacs2, pacs3, dr1." in said
    planned = contract.read(lab.planned_contract_file)
    assert planned is not None
    node = planned["sites"]["primary"]["nodes"]["pacs1"]
    assert (node["address"], node["das_devices"]) == ("10.89.77.11", ["/not-made-yet", "/not-made-yet"])
    assert not lab.contract_file.exists()


@needs_engine
def test_settings_of_an_up_that_failed_are_still_planned(hospital: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets.ensure(hospital)
    Engine(hospital).up()
    hospital.unfinished_file.unlink()
    changed = edit(hospital, new_policy_and_caller)
    for _ in range(2):
        # The roles did not run through.
        assert len(Engine(replace(changed)).up().settings or ()) == 2
    said = call(monkeypatch, changed).stdout
    assert "policy.retention_days  1 -> 4000" in said
    assert "did not end well" in said
    changed.unfinished_file.unlink()
    assert "The settings are those of the last `hapacs up`." in call(monkeypatch, changed).stdout


@needs_engine
def test_missing_secrets_are_named_and_not_made(hospital: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as earlier:
        fewer = {name: make for name, make in secrets.SECRETS.items() if name != "hapacs_secret_patroni_rest"}
        earlier.setattr(secrets, "SECRETS", fewer)
        secrets.ensure(hospital)
    before = hospital.secrets_file.read_bytes()
    assert "hapacs_secret_patroni_rest" in call(monkeypatch, hospital).stdout
    assert json.loads(call(monkeypatch, hospital, "--json").stdout)["secrets"] == ["hapacs_secret_patroni_rest"]
    assert hospital.secrets_file.read_bytes() == before


def test_plan_before_init_makes_no_secrets_and_says_what_to_do(
    hospital: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RefusedError, match="hapacs init lab"):
        call(monkeypatch, hospital)
    assert not hospital.secrets_file.exists()
    assert not hospital.age_key.exists()


def test_node_that_is_not_there_yet_is_left_out_of_the_check(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: dict[str, Any] = {"sites": {"primary": {"nodes": {"pacs1": {}, "pacs4": {}}}}}
    asked: dict[str, Any] = {}

    def run(_name: str, **options: Any) -> playbook.Outcome:
        asked.update(options)
        return playbook.Outcome(Path("log"))

    monkeypatch.setattr(Engine, "preview", lambda _: Changes(planned, [Change("create", "LabNode", "pacs4")]))
    monkeypatch.setattr(playbook, "run", run)
    monkeypatch.setattr(image, "identifier", lambda: "abc")
    monkeypatch.setattr(image, "package_variables", dict)
    monkeypatch.setattr(wheelhouse, "ensure", lambda: None)
    monkeypatch.setattr(backport, "ensure", lambda _on_step: None)
    secrets.ensure(deployment)
    done = call(monkeypatch, deployment, "--configuration")
    assert done.exit_code == ExitCode.OK
    assert asked["options"] == ("--check", "--limit", "all,!pacs4")
    assert asked["environment"]["HAPACS_CONTRACT"] == str(deployment.planned_contract_file)
    assert "Not asked, because `hapacs up` makes or changes the machine first: pacs4." in done.stdout
