"""A service that is added to the table shows everywhere, without another edit."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from hapacs.deployment import Deployment
from hapacs.services import network, nodes, operations, table
from hapacs.services.model import GROUPS, Health, Memory, Metrics, Port, Restart, Secret, Service
from hapacs.settings import SettingsError, parse
from hapacs.site.access import sites
from hapacs.verify import unauthorized
from tests.unit.ansible.loading import PROJECT
from tests.unit.ansible.loading import load as plugin
from tests.unit.static import test_judge as static

NODE, ADDRESS = "pacs1", "192.0.2.11"
MEMBERS: nodes.Members = {group: [NODE, "pacs2"] for group in GROUPS}
PORT, METRICS = 9999, 9998
IMAGINARY = Service(
    "transcriber",
    role="transcriber",
    group="pacs",
    ports=(
        Port(PORT, "https", "tls", reached_by=("load_balancer",), authority="pacs"),
        Port(METRICS, "metrics", "closed", listens="loopback"),
    ),
    prepared_by=("speech",),
    memory={"dedicated": Memory(4096, 8192), "shared": Memory(128, 256)},
    certificates=("/etc/transcriber/tls",),
    restart=Restart("__transcriber_current", hands_over=("query",)),
    secrets=(Secret("pacs"),),
    health=Health(port="metrics", path="/health"),
    metrics=Metrics("metrics"),
)


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "SERVICES", (*table.SERVICES, IMAGINARY))


def test_firewall_opens_its_port_to_its_sources() -> None:
    members = {group: [{"name": NODE, "address": ADDRESS}] for group in GROUPS}
    site = {"dicom": {"port": 11112, "tls_port": 2762}, "https_port": 443}
    rules = plugin("filter/services").firewall_rules(["pacs"], members, {"management": [], "clients": []}, site)
    matches = [rule["match"] for rule in rules]
    assert [match for match in matches if str(PORT) in match]
    assert not [match for match in matches if str(METRICS) in match]


def test_settings_refuse_its_port_at_the_virtual_address() -> None:
    settings = yaml.safe_load((PROJECT / "inventories/lab/settings.yaml").read_text(encoding="utf-8"))
    settings["sites"]["primary"]["https_port"] = PORT
    with pytest.raises(SettingsError, match="own services"):
        parse(settings)


def test_machine_needs_its_memory() -> None:
    before = nodes.memory_mb(GROUPS, "dedicated") - 4096
    machine = static.machine(memory_bytes=before << 20)
    assert "of memory" in static.found(machine)[0]
    assert static.found(static.machine(memory_bytes=(before + 4096) << 20)) == []
    assert plugin("filter/services").service_memory_mb("transcriber", "shared") == 256


def test_its_role_is_applied_after_what_prepares_it() -> None:
    roles = plugin("filter/services").service_roles(["pacs"])
    assert roles[-2:] == ["speech", "transcriber"]
    assert "transcriber" in plugin("filter/services").service_roles("all")


def test_restart_takes_it_by_name_and_in_order() -> None:
    filters = plugin("filter/services")
    assert filters.restartable_services("all")[-1] == "transcriber"
    assert filters.restartable_services("transcriber") == ["transcriber"]
    part = {"role": "transcriber", "tasks": "run", "group": "pacs", "registers": ["__transcriber_current"]}
    assert filters.service_restarts("transcriber") == [part]
    assert filters.service_restarts("all")[-1] == part
    assert operations.leads(["transcriber.service"]) == ["query"]


def test_renew_and_rotate_reach_it() -> None:
    filters = plugin("filter/services")
    assert "transcriber" in [part["role"] for part in filters.certificate_parts(["pacs"])]
    assert "transcriber" not in [part["role"] for part in filters.certificate_parts(["etcd"])]
    rotation = filters.secret_rotation("pacs")
    assert "transcriber" in [part["role"] for part in rotation["write"]]
    assert "transcriber" in [part["role"] for part in rotation["take_up"]]


def test_it_stops_while_the_database_is_restored() -> None:
    members = {group: [{"name": name} for name in names] for group, names in MEMBERS.items()}
    found = plugin("filter/services").services_of_database(members, NODE, "shared")
    assert {"transcriber", "orthanc-store", "orthanc-query", "hapacs-routing", "seaweedfs-filer"} <= set(found)
    assert {"hapacs-reconcile.timer", "hapacs-reconcile.service"} <= set(found)
    assert not {"patroni", "etcd", "haproxy", "seaweedfs-volume", "pgbackrest-backup.timer"} & set(found)


def test_status_asks_for_it() -> None:
    action = plugin("action/node_state")
    sent: list[str] = []

    def execute(command: str, **_: Any) -> dict[str, Any]:
        sent.append(command)
        return {"rc": 0, "stdout": "{}", "stderr": ""}

    asking = action.ActionModule.__new__(action.ActionModule)
    members = {group: [{"name": name} for name in names] for group, names in MEMBERS.items()}
    arguments = {"node": NODE, "address": ADDRESS, "sizing": "shared", "members": members}
    asking._task = SimpleNamespace(args=arguments)
    asking._low_level_execute_command = execute
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(action.ActionBase, "run", lambda *_: {})
        asking.run()
    asked = json.loads(shlex.split(sent[0])[-1])
    assert "transcriber" in asked["units"]
    assert asked["health"]["transcriber"] == {"port": METRICS, "path": "/health"}
    assert "/etc/transcriber/tls" in asked["certificates"]


def test_verify_probes_its_ports(tmp_path: Path) -> None:
    deployment = Deployment("lab", PROJECT / "inventories/lab", tmp_path, tmp_path)
    deployment.contract_file.write_text((PROJECT / "tests/contract/lab.json").read_text(encoding="utf-8"))
    site = sites(deployment)[0]
    found = unauthorized.ports_to_probe(site, site.nodes[NODE], {})
    kinds = {one["port"]: one["kind"] for one in found}
    assert (kinds[PORT], kinds[METRICS]) == ("tls", "closed")


def test_prometheus_scrapes_it() -> None:
    found = network.scraped(NODE, ADDRESS, MEMBERS, "dedicated")
    assert network.Target("transcriber", f"http://127.0.0.1:{METRICS}/metrics", None) in found
    assert network.jobs(MEMBERS, "dedicated")["transcriber"] == [NODE, "pacs2"]


def test_metrics_for_root_only_are_facts_of_the_node() -> None:
    jobs = network.jobs(MEMBERS, "dedicated")
    asked = nodes.question(NODE, ADDRESS, MEMBERS, "dedicated")["metrics"]
    assert set(asked) == {"orthanc-store", "orthanc-query"}
    assert not set(asked) & set(jobs)


def test_no_more_than_two_nodes_run_prometheus() -> None:
    members: nodes.Members = {group: ["pacs1", "pacs2", "pacs3"] for group in GROUPS}
    for unit in ("prometheus", "prometheus-alertmanager"):
        assert network.jobs(members, "dedicated")[unit] == ["pacs1", "pacs2"]
        assert nodes.find(unit) not in nodes.of_node("pacs3", members, "dedicated")


def test_node_of_another_group_has_nothing_of_it() -> None:
    members = {**MEMBERS, "pacs": ["pacs2"]}
    assert IMAGINARY not in nodes.of_node(NODE, members, "dedicated")
    asked = nodes.question(NODE, ADDRESS, members, "dedicated")
    assert "transcriber" not in asked["units"]
