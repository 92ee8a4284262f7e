"""Wrong input is refused by each role before it does anything, and the error says what to change.

One run of ansible-playbook puts every case to its role's argument specification and to its preflight, and to nothing
else of the role: this machine is no node.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.ansible.loading import ANSIBLE, PROJECT

ROLES = sorted(path.name for path in (ANSIBLE / "roles").iterdir() if path.is_dir())
_SHA256 = "0" * 64
_ONE = [{"name": "n1", "address": "192.0.2.1", "zone": "rack1"}]
_TWO = [*_ONE, {"name": "n2", "address": "192.0.2.2", "zone": "rack1"}]
_ONE_KEPT = {"stanza": "a-primary", "members": [{"name": "n2", "address": "192.0.2.2"}], "keep_full": 2, "hour": 2}
_KEPT = {"pgbackrest_kept": [_ONE_KEPT], "pgbackrest_passphrase": "x"}
_UPSTREAM = {
    "orthanc_source": "upstream",
    "orthanc_upstream_version": "1.12.11",
    "orthanc_upstream_base_url": "https://orthanc.example.org/downloads",
    "orthanc_upstream_files": [{"path": "orthanc/1.12.11/Orthanc", "sha256": _SHA256}],
}
_PEERS = {
    "workstation": {"ae_title": "READING", "host": "192.0.2.9", "port": 104},
    "open": {"kind": "dicomweb", "url": "http://192.0.2.9", "credentials": None},
    "cloud": {"kind": "dicomweb", "url": "https://pacs.example.org", "credentials": "cloud"},
}
# What each role takes without a word.
SOUND: dict[str, dict[str, Any]] = {
    "base": {},
    "pki": {"pki_directory": "/nonexistent", "pki_passphrase": "x"},
    "integrity": {},
    "das": {"das_devices": ["/dev/sdb", "/dev/sdc"]},
    "etcd": {"etcd_members": _ONE, "etcd_node": "n1"},
    "postgres": {
        "postgres_members": _ONE,
        "postgres_node": "n1",
        "postgres_etcd_members": _ONE,
        **{f"postgres_{name}_password": "x" for name in ("superuser", "replication", "rewind", "rest")},
    },
    # A site without backups: nothing is kept here, and nothing goes anywhere.
    "pgbackrest": {"pgbackrest_node": "n1", "pgbackrest_address": "192.0.2.1"},
    "seaweedfs": {"seaweedfs_members": _ONE, "seaweedfs_node": "n1", "seaweedfs_replication": "000"},
    "hapacs_node": {
        "hapacs_node_name": "n1",
        "hapacs_node_site": "primary",
        "hapacs_node_migrator": "n1",
        "hapacs_node_database_hosts": ["192.0.2.1"],
        "hapacs_node_cas_gateways": ["https://192.0.2.1:8333"],
        "hapacs_node_wheel": "/wheels/hapacs_node-1.0-py3-none-any.whl",
    },
    "orthanc": {
        "orthanc_node": "n1",
        "orthanc_address": "192.0.2.1",
        "orthanc_database_hosts": ["192.0.2.1"],
        "orthanc_source": "debian",
    },
    "haproxy": {
        "haproxy_node": "n1",
        "haproxy_members": _ONE,
        "haproxy_pacs": _ONE,
        "haproxy_vip": "192.0.2.9",
        "haproxy_management_address": "192.0.2.1",
        "haproxy_statistics_password": "long enough to do",
    },
    "keepalived": {
        "keepalived_node": "n1",
        "keepalived_members": _ONE,
        "keepalived_vip": {"address": "192.0.2.9", "prefix": 24},
        "keepalived_router_id": 1,
    },
    "exporters": {
        "exporters_node": "n1",
        "exporters_address": "192.0.2.1",
        "exporters_programs_directory": "/nonexistent",
        "exporters_question": {"units": []},
        "exporters_targets": [
            {"job": "prometheus-node-exporter", "url": "http://127.0.0.1:9100/metrics", "authority": None},
            {"job": "patroni", "url": "https://192.0.2.1:8008/metrics", "authority": "postgres"},
        ],
    },
    "prometheus": {
        "prometheus_node": "n1",
        "prometheus_address": "192.0.2.1",
        "prometheus_nodes": _ONE,
        "prometheus_jobs": {"etcd": ["n1"]},
        "prometheus_rules_directory": "/nonexistent",
    },
    "alertmanager": {
        "alertmanager_node": "n1",
        "alertmanager_address": "192.0.2.1",
        "alertmanager_template": "/nonexistent",
        "alertmanager_routes": {
            "receivers": {"desk": {"webhook": "https://x.example", "credentials": "desk"}},
            "page": ["desk"],
            "ticket": [],
            "watchdog": [],
        },
        "alertmanager_secrets": {"desk": "x", "of another site": "y"},
    },
    "viewer": {
        "viewer_bundle": f"/cache/viewer-3.13.2-{'0' * 16}.tar",
        "viewer_node": "n1",
        "viewer_address": "192.0.2.1",
    },
    "routing": {
        "routing_node": "n1",
        "routing_address": "192.0.2.1",
        "routing_loader": "n1",
        "routing_rules": {"destinations": _PEERS, "rules": []},
        "routing_secrets": {"cloud": "password", "of another site": "with a blank"},
    },
    "probe": {
        "probe_node": "n1",
        "probe_address": "192.0.2.1",
        "probe_site": "a-primary",
        "probe_members": _ONE,
        "probe_entry": {"host": "192.0.2.9"},
    },
    "commitment": {
        "commitment_node": "n1",
        "commitment_address": "192.0.2.1",
        "commitment_archive": [{"name": "n1", "address": "192.0.2.1", "zone": "r1"}],
        "commitment_filer_read_key": "key",
    },
    "drill": {"drill_fault": {"kind": "pause"}},
}


@dataclass(frozen=True)
class Wrong:
    """Variables that a role refuses, and a part of what it says."""

    role: str
    name: str
    variables: dict[str, Any]
    said: str


WRONG = [
    Wrong("base", "nobody may log in", {"base_ssh_users": []}, "lock out everybody"),
    Wrong("base", "rules but no management", {"base_firewall_rules": [{"sources": []}]}, "lock out everybody"),
    Wrong("base", "a number for a list", {"base_members": 3}, "must be a list"),
    Wrong(
        "base", "a member without address", {"base_members": [{"name": "n1"}]}, "missing required arguments: address"
    ),
    Wrong("pki", "no passphrase", {"pki_passphrase": ""}, "hapacs init"),
    Wrong("pki", "renewed for ever", {"pki_renew_before_s": 34300800}, "pki_directory"),
    Wrong("das", "no disk", {"das_devices": []}, "name each disk once"),
    Wrong("das", "a disk twice", {"das_devices": ["/dev/sdb", "/dev/sdb"]}, "name each disk once"),
    Wrong("das", "not a device", {"das_devices": ["sdb"]}, "name each disk once"),
    Wrong("das", "a command for a place", {"das_mount_point": "/srv/das; reboot"}, "name each disk once"),
    Wrong("etcd", "two members", {"etcd_members": _TWO}, "odd number"),
    Wrong("etcd", "not a member", {"etcd_node": "n3"}, "odd number"),
    Wrong("etcd", "elections without end", {"etcd_election_timeout_ms": 200}, "at least five heartbeats"),
    Wrong("etcd", "data elsewhere", {"etcd_data_directory": "/var/lib/etcd"}, "/srv/data"),
    Wrong("etcd", "words for milliseconds", {"etcd_election_timeout_ms": "soon"}, "unable to convert to int"),
    Wrong("postgres", "not a member", {"postgres_node": "n3"}, "must be one of postgres_members"),
    Wrong("postgres", "no password", {"postgres_rest_password": ""}, "hapacs init"),
    Wrong("postgres", "a lease too short", {"postgres_ttl_s": 10}, "at least 20"),
    Wrong("postgres", "a lease shorter than its loops", {"postgres_loop_wait_s": 15}, "postgres_loop_wait_s"),
    Wrong("postgres", "data elsewhere", {"postgres_data_directory": "/var/lib/postgresql"}, "/srv/data"),
    Wrong("pgbackrest", "no address", {"pgbackrest_address": ""}, "pgbackrest_address must be given"),
    Wrong(
        "pgbackrest",
        "a host of backups at no address",
        {"pgbackrest_stanza": "a-primary", "pgbackrest_repository_node": "n2"},
        "pgbackrest_repository_address where backups",
    ),
    Wrong(
        "pgbackrest",
        "backups that nothing encrypts",
        {"pgbackrest_kept": [_ONE_KEPT]},
        "hapacs init",
    ),
    Wrong("pgbackrest", "an hour that no day has", _KEPT | {"pgbackrest_kept": [_ONE_KEPT | {"hour": 24}]}, "0 to 23"),
    Wrong("pgbackrest", "no full backup", _KEPT | {"pgbackrest_kept": [_ONE_KEPT | {"keep_full": 0}]}, "0 to 23"),
    Wrong("pgbackrest", "backups elsewhere", {"pgbackrest_repository_directory": "/var/lib/x"}, "below /srv/data"),
    Wrong("seaweedfs", "more copies than racks", {"seaweedfs_replication": "010"}, "more zones"),
    Wrong("seaweedfs", "not a member", {"seaweedfs_node": "n3"}, "must list this node"),
    Wrong("seaweedfs", "no retention", {"seaweedfs_retention_days": 0}, "a day or more"),
    Wrong("seaweedfs", "another lock", {"seaweedfs_retention_mode": "NONE"}, "must be one of: GOVERNANCE, COMPLIANCE"),
    Wrong("hapacs_node", "no gateway", {"hapacs_node_cas_gateways": []}, "_cas_gateways"),
    Wrong(
        "hapacs_node", "another wheel", {"hapacs_node_wheel": "/wheels/other-1.0-py3-none-any.whl"}, "path of the wheel"
    ),
    Wrong("orthanc", "one title for both", {"orthanc_query_ae": "HAPACS"}, "already used by orthanc_store_ae"),
    Wrong("orthanc", "the title of the check", {"orthanc_query_ae": "HAPROXY"}, "balancer's health check"),
    Wrong("haproxy", "one title for both", {"haproxy_query_ae": "HAPACS"}, "already used by haproxy_store_ae"),
    Wrong("hapacs_node", "late eviction", {"hapacs_node_das_evict_below_bytes": 1}, "starts only after"),
    Wrong("hapacs_node", "endless eviction", {"hapacs_node_das_evict_until_bytes": 1}, "never end"),
    Wrong("orthanc", "a third service", {"orthanc_services": {"store": {}, "query": {}, "other": {}}}, "two keys"),
    Wrong("orthanc", "another source", {"orthanc_source": "git"}, "must be one of: backport, debian, upstream"),
    Wrong("orthanc", "packages that nobody built", {"orthanc_source": "backport"}, "policy.orthanc_source"),
    Wrong("orthanc", "upstream of nothing", {"orthanc_source": "upstream"}, "policy.orthanc_upstream"),
    Wrong("orthanc", "no digest", {**_UPSTREAM, "orthanc_upstream_files": [{"path": "Orthanc"}]}, "sha256"),
    Wrong(
        "orthanc",
        "a digest of another kind",
        {**_UPSTREAM, "orthanc_upstream_files": [{"path": "Orthanc", "sha256": "0" * 32}]},
        "64",
    ),
    Wrong(
        "orthanc",
        "plugins only",
        {**_UPSTREAM, "orthanc_upstream_files": [{"path": "libOrthancDicomWeb.so", "sha256": _SHA256}]},
        "Orthanc itself",
    ),
    Wrong(
        "orthanc",
        "a path that climbs",
        {**_UPSTREAM, "orthanc_upstream_files": [{"path": "../Orthanc", "sha256": _SHA256}]},
        "path below it",
    ),
    Wrong("orthanc", "a version that climbs", {**_UPSTREAM, "orthanc_upstream_version": "../1"}, "is a version"),
    Wrong(
        "orthanc", "a file of this machine", {**_UPSTREAM, "orthanc_upstream_base_url": "file:///etc"}, "begins with"
    ),
    Wrong(
        "haproxy",
        "a caller twice",
        {"haproxy_callers": [{"ae_title": "CT", "networks": ["192.0.2.0/24"]}] * 2},
        "caller 2: AE title CT is already used by caller 1",
    ),
    Wrong(
        "haproxy",
        "a title with a line break",
        {"haproxy_callers": [{"ae_title": "CT\nacl", "networks": ["192.0.2.0/24"]}]},
        "caller 1: an AE title holds",
    ),
    Wrong("haproxy", "a short password", {"haproxy_dicomweb_users": {"reader": "short"}}, "at least 12 characters"),
    Wrong("haproxy", "not a member", {"haproxy_node": "n3"}, "must list this node"),
    Wrong("probe", "no virtual address", {"probe_entry": {}}, "probe_entry with its host must be given"),
    Wrong("probe", "a second between two runs", {"probe_period_s": 1}, "must be at least 10"),
    Wrong("commitment", "no archive", {"commitment_archive": []}, "commitment_archive must list"),
    Wrong("commitment", "a word for the replication", {"commitment_replication": "two"}, "three digits"),
    Wrong("commitment", "no key", {"commitment_filer_read_key": ""}, "commitment_filer_read_key must be given"),
    Wrong("routing", "nobody loads the rules", {"routing_loader": ""}, "routing_loader must be given"),
    Wrong("routing", "a text for the rules", {"routing_rules": "all to CT1"}, "unable to convert to dict"),
    Wrong("routing", "a secret that nobody gave", {"routing_secrets": {"other": "x"}}, "the secrets cloud"),
    Wrong("routing", "a secret with a blank", {"routing_secrets": {"cloud": "a b"}}, "text of ASCII without blanks"),
    Wrong("routing", "a number for a secret", {"routing_secrets": {"cloud": 1234}}, "text of ASCII without blanks"),
    Wrong("integrity", "a budget that no day is enough for", {"integrity_scrub_gb_per_day": 1729}, "readable in a day"),
    Wrong("integrity", "an hour that no day has", {"integrity_reconcile_hour": 24}, "an hour from 0 to 23"),
    Wrong("keepalived", "a number too large", {"keepalived_router_id": 256}, "from 1 to 255"),
    Wrong("keepalived", "no address", {"keepalived_vip": {"address": "", "prefix": 24}}, "must be given"),
    Wrong("keepalived", "not a member", {"keepalived_node": "n3"}, "must list this node"),
    Wrong("drill", "an unknown kind of fault", {"drill_fault": {"kind": "burn"}}, "kind that hapacs-drill knows"),
    Wrong("drill", "a lease that ends before the proof", {"drill_lease_s": 5}, "at least drill_proof_s"),
    Wrong("drill", "a lease of a day", {"drill_lease_s": 86400}, "at most 3600"),
    Wrong("haproxy", "not packed by us", {"haproxy_status_bundle": "/cache/page.tar"}, "`hapacs up` makes it"),
    Wrong("haproxy", "a page without alerts", {"haproxy_prometheus": _ONE}, "haproxy_alertmanagers must be given"),
    Wrong("viewer", "not packed by us", {"viewer_bundle": "/cache/viewer.tar"}, "`hapacs up` makes it"),
    Wrong("viewer", "no address", {"viewer_address": ""}, "viewer_address must be given"),
    Wrong(
        "viewer", "another host", {"viewer_dicomweb_root": "https://x.example"}, "a path on the balancer's own address"
    ),
    Wrong("exporters", "no node exporter", {"exporters_targets": []}, "must name prometheus-node-exporter"),
    Wrong(
        "exporters",
        "a certificate that may write",
        {
            "exporters_targets": [
                {"job": "prometheus-node-exporter", "url": "http://127.0.0.1:9100/metrics", "authority": None},
                {"job": "etcd", "url": "https://192.0.2.1:2379/metrics", "authority": "etcd"},
            ]
        },
        "could change something",
    ),
    Wrong("exporters", "nothing to look at", {"exporters_question": {}}, "exporters_question"),
    Wrong(
        "prometheus", "a node that nobody knows", {"prometheus_jobs": {"etcd": ["n9"]}}, "each node that a job names"
    ),
    Wrong("prometheus", "data elsewhere", {"prometheus_data_directory": "/var/lib/x"}, "below /srv/data"),
    Wrong("prometheus", "hardly any room", {"prometheus_retention_bytes": 1000}, "256 MiB"),
    Wrong("alertmanager", "a secret that nobody has", {"alertmanager_secrets": {}}, "add it to the secrets"),
    Wrong("alertmanager", "data elsewhere", {"alertmanager_data_directory": "/var/lib/x"}, "below"),
]


def case(index: int, role: str, variables: dict[str, Any]) -> dict[str, Any]:
    """Return the block that puts one case to its role's checks and writes down what they said."""
    specification = read(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    return {
        "name": f"Case {index}",
        "vars": variables,
        "block": [
            {
                "name": "Arguments",
                "ansible.builtin.validate_argument_spec": {
                    "argument_spec": specification,
                    "provided_arguments": variables,
                },
            },
            {"name": "Preflight", "ansible.builtin.include_role": {"name": role, "tasks_from": "preflight"}},
        ],
        "rescue": [
            {"name": "Report", "ansible.builtin.set_fact": {f"said_{index}": "{{ ansible_failed_result.msg }}"}}
        ],
    }


def read(role: str, path: str) -> Any:
    return yaml.safe_load((ANSIBLE / "roles" / role / path).read_text(encoding="utf-8"))


def of_each_preflight() -> dict[str, set[str]]:
    """Return which modules each role's preflight uses."""
    words = {"name", "vars", "when", "run_once", "tags", "loop", "loop_control"}
    return {role: {word for task in read(role, "tasks/preflight.yml") for word in task} - words for role in ROLES}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what each case's role said: the sound ones first, by the role's name, then the wrong ones by their own."""
    assert of_each_preflight() == {it: {"ansible.builtin.assert"} for it in ROLES}, "a preflight does more than to look"
    cases = [(role, role, SOUND[role]) for role in SOUND]
    cases += [(f"{it.role}: {it.name}", it.role, SOUND[it.role] | it.variables) for it in WRONG]
    directory = tmp_path_factory.mktemp("preflight")
    play: dict[str, Any] = {
        "name": "Cases",
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "tasks": [case(index, role, variables) for index, (_, role, variables) in enumerate(cases)],
    }
    result = {index: f"{{{{ said_{index} | default('') }}}}" for index in range(len(cases))}
    play["tasks"].append(
        {
            "name": "Answers",
            "ansible.builtin.copy": {
                "content": "{{ answers | to_json }}",
                "dest": str(directory / "answers.json"),
                "mode": "0600",
            },
            "vars": {"answers": {str(index): text for index, text in result.items()}},
        }
    )
    playbook = directory / "cases.yml"
    playbook.write_text(yaml.safe_dump([play]), encoding="utf-8")
    inventory = directory / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"localhost": None}}}), encoding="utf-8")
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "--inventory", inventory, playbook],
        env=os.environ | {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_PYTHON_INTERPRETER": sys.executable},
        cwd=PROJECT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    said = json.loads((directory / "answers.json").read_text(encoding="utf-8"))
    return {name: said[str(index)] for index, (name, _, _) in enumerate(cases)}


def test_every_role_has_a_case() -> None:
    assert set(SOUND) == set(ROLES) == {wrong.role for wrong in WRONG}


@pytest.mark.parametrize("role", SOUND)
def test_sound_input_is_taken(role: str, answers: dict[str, str]) -> None:
    assert answers[role] == ""


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong.role}: {wrong.name}")
def test_wrong_input_is_refused(wrong: Wrong, answers: dict[str, str]) -> None:
    assert wrong.said in answers[f"{wrong.role}: {wrong.name}"]
