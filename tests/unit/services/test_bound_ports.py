"""The table against what the roles configure: every template that binds a port is rendered for a node of the lab.

Nothing runs. One playbook renders on this machine with the inventory plugin, the group variables of the playbooks and
the roles' own variables, as `hapacs up` does.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hapacs.services import nodes, table
from hapacs.services.model import Service
from tests.unit.ansible.loading import ANSIBLE, PROJECT

NODE, ADDRESS, VIP = "pacs1", "10.89.77.11", "10.89.77.10"
ANY = "0.0.0.0"  # noqa: S104 - where Orthanc listens
SECRETS = (
    "pki_passphrase", "postgres_superuser", "postgres_replication", "postgres_rewind", "postgres_pacs", "postgres_cas",
    "patroni_rest", "statistics_password", "cas_reader_access_key", "cas_reader_secret_key", "cas_node_access_key",
    "cas_node_secret_key", "cas_jwt_signing", "cas_jwt_filer_signing", "cas_jwt_filer_read", "backup",
)  # fmt: skip
GIVEN: dict[str, Any] = {
    **{f"hapacs_secret_{name}": "secret-of-the-test" for name in SECRETS},
    "hapacs_secret_dicomweb_users": {"reader": "secret-of-the-test"},
    "hapacs_drained": False,
    "hapacs_wheelhouse_directory": "/nonexistent",
    "hapacs_node_wheel": "/nonexistent/hapacs_node-1.0-py3-none-any.whl",
    "hapacs_viewer_bundle": f"/nonexistent/viewer-3.13.2-{'0' * 16}.tar",
    "hapacs_status_bundle": f"/nonexistent/status-page-{'0' * 16}.tar",
    "ansible_connection": "local",
    "ansible_python_interpreter": sys.executable,
}
# Every template that binds a port: of which role, and with which variables of its task.
TEMPLATES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "etcd": ("etcd", "etcd.yml.j2", {}),
    "patroni": ("postgres", "patroni.yml.j2", {}),
    "pgbackrest-database": ("pgbackrest", "database.conf.j2", {}),
    "pgbackrest-repository": ("pgbackrest", "repository.conf.j2", {"lock_directory": "/run/locks"}),
    **{
        f"seaweedfs-{daemon}": ("seaweedfs", "seaweedfs.service.j2", {"daemon": daemon})
        for daemon in ("master", "volume", "filer", "s3")
    },
    **{
        f"orthanc-{name}": (
            "orthanc",
            "orthanc.json.j2",
            {"item": {"key": name, "value": f"{{{{ orthanc_services.{name} }}}}"}},
        )
        for name in ("store", "query")
    },
    "orthanc-tls": ("orthanc", "stunnel.conf.j2", {}),
    "hapacs-routing": ("routing", "hapacs-routing.service.j2", {}),
    "hapacs-commitment": ("commitment", "commitment.json.j2", {}),
    "hapacs-probe": ("probe", "probe.json.j2", {}),
    "viewer": ("viewer", "nginx.conf.j2", {}),
    "haproxy": ("haproxy", "haproxy.cfg.j2", {}),
    "exporters": ("exporters", "nginx.conf.j2", {}),
    "prometheus-node-exporter": ("exporters", "node-exporter.conf.j2", {}),
    "prometheus-postgres-exporter": ("exporters", "postgres-exporter.conf.j2", {}),
    "prometheus": ("prometheus", "unit.conf.j2", {}),
    "prometheus-alertmanager": ("alertmanager", "unit.conf.j2", {}),
}
CHOSEN = (443, 2762, 11112)
AT = r"(\d+\.\d+\.\d+\.\d+):(\d+)"


def bound(unit: str, text: str) -> set[tuple[str, int]]:
    """Return the addresses and ports that a service with this configuration listens at."""
    if unit.startswith("seaweedfs-"):
        (address, port), (metrics, metrics_port) = (
            re.findall(rf"-{ip}=(\S+) -{name}=(\d+)", text)[0]
            for ip, name in (("ip.bind", "port"), ("metricsIp", "metricsPort"))
        )
        # Without -port.grpc weed adds 10000.
        assert "-port.grpc" not in text
        return {(address, int(port)), (address, int(port) + 10000), (metrics, int(metrics_port))}
    if text.startswith("{"):
        settings = json.loads(text)
        if "metrics_port" in settings:
            # The program binds its metrics at 127.0.0.1.
            listen = [settings[name] for name in ("listen", "replicas") if name in settings]
            return {(one["host"], one["port"]) for one in listen} | {("127.0.0.1", settings["metrics_port"])}
        found = {(ANY, settings["HttpPort"])}
        if settings.get("DicomServerEnabled", True):
            found.add((ANY, settings["DicomPort"]))
        own = [settings["Hapacs"][name] for name in ("Retrieve", "Dimse", "Stow") if name in settings["Hapacs"]]
        return found | {(one["Address"], one["Port"]) for one in own}
    if metrics := re.findall(r" --metrics-port (\d+) ", text):
        # The program binds it at 127.0.0.1.
        return {("127.0.0.1", int(metrics[0]))}
    if addresses := re.findall(r" --(?:web|cluster).listen-address=" + AT, text):
        return {(address, int(port)) for address, port in addresses}
    text = text.replace("\ntls-server-port=", ":").replace("tls-server-address=", "bind ")
    line = r"^\s*(?:listen(?:-\w+-urls)?:? (?:https?://)?|accept = |bind )" + AT
    return {(address, int(port)) for address, port in re.findall(line, text, re.MULTILINE)}


def declared(service: Service) -> set[tuple[str, int]]:
    at = {"node": ADDRESS, "management": ADDRESS, "virtual": VIP, "loopback": "127.0.0.1", "everywhere": ANY}
    return {(at[port.listens], port.number) for port in service.ports}


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[tuple[str, int]]]:
    """Return the addresses and ports of each service, by the configuration that its role writes."""
    directory: Path = tmp_path_factory.mktemp("rendered")
    (directory / "lab").mkdir()
    shutil.copy(PROJECT / "tests/contract/lab.json", directory / "lab/inventory.json")
    shutil.copy(PROJECT / "inventories/lab/pulumi_stack.yml", directory)
    (directory / "group_vars").symlink_to(ANSIBLE / "playbooks/group_vars")
    tasks: list[dict[str, Any]] = []
    for unit, (role, template, variables) in TEMPLATES.items():
        included = {"name": role, "tasks_from": "preflight", "public": True}
        written = {
            "content": f"{{{{ lookup('template', '{ANSIBLE}/roles/{role}/templates/{template}') }}}}",
            "dest": str(directory / unit),
            "mode": "0600",
        }
        tasks.append({"name": role, "ansible.builtin.include_role": included})
        tasks.append({"name": unit, "ansible.builtin.copy": written, "vars": variables})
    playbook = directory / "render.yml"
    playbook.write_text(yaml.safe_dump([{"hosts": NODE, "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    packages = directory / "packages"
    packages.mkdir()
    for name in ("libcivetweb1_1.16", "orthanc_1.13.0", "hapacs-nesting_1"):
        (packages / f"{name}+hapacs.0_amd64.deb").touch()
    given = GIVEN | {"hapacs_backport_directory": str(packages)}
    (directory / "given.json").write_text(json.dumps(given), encoding="utf-8")
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("ansible-playbook"), "--inventory", directory / "pulumi_stack.yml"),
            *("--extra-vars", f"@{directory}/given.json", playbook),
        ],
        env=os.environ | {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "HAPACS_STATE_DIR": str(directory)},
        cwd=PROJECT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = {unit: bound(unit, (directory / unit).read_text(encoding="utf-8")) for unit in TEMPLATES}
    # Its lines belong to the two services whose TLS it ends.
    ends_tls_of = {port: unit for unit in ("orthanc-store", "orthanc-query") for port in [nodes.port(unit, "https")]}
    for address, port in found.pop("orthanc-tls"):
        found[ends_tls_of[port]].add((address, port))
    # Ports that clients use are chosen by the settings.
    found["haproxy"] -= {(VIP, port) for port in CHOSEN}
    return found


def test_every_service_with_a_port_has_a_template_here() -> None:
    # The port of SSH is the machine's own setting.
    assert {one.unit for one in table.SERVICES if one.ports} - {"ssh"} == set(TEMPLATES) - {"orthanc-tls"}


@pytest.mark.parametrize("unit", sorted(set(TEMPLATES) - {"orthanc-tls"}))
def test_service_listens_at_its_declared_ports_and_no_other(
    unit: str, configured: dict[str, set[tuple[str, int]]]
) -> None:
    assert configured[unit] == declared(nodes.find(unit))
