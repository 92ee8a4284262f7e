"""Roles work alone: the ports of their defaults are those of the table, and so is the choice of the masters."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from jinja2.nativetypes import NativeEnvironment

from hapacs.services import nodes
from tests.unit.ansible.loading import ANSIBLE

# Path of a default, and the service and port that it is.
PORTS = {
    "commitment_filer_port": ("seaweedfs-filer", "http"),
    "commitment_metrics_port": ("hapacs-commitment", "metrics"),
    "commitment_port": ("hapacs-commitment", "dicom"),
    "commitment_replicas_port": ("hapacs-commitment", "replicas"),
    "commitment_store_port": ("orthanc-store", "dicom"),
    "commitment_volume_port": ("seaweedfs-volume", "http"),
    "hapacs_node_database_port": ("patroni", "database"),
    "haproxy_callers_port": ("haproxy", "callers"),
    "haproxy_commitment_port": ("hapacs-commitment", "dicom"),
    "haproxy_confirmation_port": ("hapacs-commitment", "replicas"),
    "haproxy_replicas_port": ("haproxy", "replicas"),
    "haproxy_peers_port": ("haproxy", "peers"),
    "haproxy_query_ports.dicom": ("orthanc-query", "dicom"),
    "haproxy_query_ports.https": ("orthanc-query", "https"),
    "haproxy_query_ports.retrieve": ("orthanc-query", "retrieve"),
    "alertmanager_peer_port": ("prometheus-alertmanager", "peer"),
    "alertmanager_port": ("prometheus-alertmanager", "web"),
    "exporters_port": ("exporters", "metrics"),
    "haproxy_metrics_port": ("haproxy", "metrics"),
    "haproxy_statistics_port": ("haproxy", "statistics"),
    "haproxy_store_ports.dicom": ("orthanc-store", "dicom"),
    "haproxy_store_ports.https": ("orthanc-store", "https"),
    "haproxy_store_ports.stow": ("orthanc-store", "stow"),
    "haproxy_status_port": ("haproxy", "status"),
    "haproxy_prometheus_port": ("prometheus", "web"),
    "haproxy_alertmanager_port": ("prometheus-alertmanager", "web"),
    "haproxy_viewer_port": ("viewer", "https"),
    "orthanc_balancer_port": ("haproxy", "callers"),
    "orthanc_database_port": ("patroni", "database"),
    "orthanc_services.query.dicom_port": ("orthanc-query", "dicom"),
    "orthanc_services.query.http_port": ("orthanc-query", "http"),
    "orthanc_services.query.https_port": ("orthanc-query", "https"),
    "orthanc_services.query.retrieve_port": ("orthanc-query", "retrieve"),
    "orthanc_services.store.dicom_port": ("orthanc-store", "dicom"),
    "orthanc_services.store.http_port": ("orthanc-store", "http"),
    "orthanc_services.store.https_port": ("orthanc-store", "https"),
    "orthanc_services.store.stow_port": ("orthanc-store", "stow"),
    "probe_metrics_port": ("hapacs-probe", "metrics"),
    "probe_query_port": ("orthanc-query", "dicom"),
    "probe_store_port": ("orthanc-store", "dicom"),
    "pgbackrest_database_port": ("pgbackrest-database", "backup"),
    "pgbackrest_repository_port": ("pgbackrest-repository", "archive"),
    "prometheus_alertmanager_port": ("prometheus-alertmanager", "web"),
    "prometheus_exporters_port": ("exporters", "metrics"),
    "prometheus_port": ("prometheus", "web"),
    "routing_metrics_port": ("hapacs-routing", "metrics"),
    "seaweedfs_database_port": ("patroni", "database"),
    "viewer_port": ("viewer", "https"),
}
# Ports of the virtual address and of SSH are chosen by settings and machines.
CHOSEN = {"base_ssh_port", "haproxy_dicom_port", "haproxy_dicom_tls_port", "haproxy_https_port"}


def flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {
            key: one for name in value for key, one in flat(value[name], f"{path}.{name}" if path else name).items()
        }
    return {path: value}


def defaults() -> dict[str, Any]:
    paths = (ANSIBLE / "roles").glob("*/defaults/main.yml")
    return {key: one for path in paths for key, one in flat(yaml.safe_load(path.read_text(encoding="utf-8"))).items()}


def test_default_ports_are_those_of_the_table() -> None:
    found = {path: value for path, value in defaults().items() if "_port" in path and isinstance(value, int)}
    assert {path: value for path, value in found.items() if path not in CHOSEN} == {
        path: nodes.port(*named) for path, named in PORTS.items()
    }


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_role_seaweedfs_chooses_the_same_masters(count: int) -> None:
    variables = yaml.safe_load((ANSIBLE / "roles/seaweedfs/vars/main.yml").read_text(encoding="utf-8"))
    members = [f"n{number}" for number in range(count)]
    template = NativeEnvironment(autoescape=False).from_string(variables["__seaweedfs_masters"])
    chosen: Any = template.render(seaweedfs_members=members)
    assert chosen == list(nodes.masters(members))
