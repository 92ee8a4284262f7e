"""A whole site of one node, made of a bare Debian 13: what runs, what listens, and a way in through the balancer."""

from __future__ import annotations

import json
import os
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from hapacs.dicom import Caller, DicomError, Peer, echo
from hapacs.load.waiting import eventually
from hapacs.services import table

VIP = "10.89.79.9"
UNITS = ["ssh", "nftables", *(service.unit for service in table.SERVICES if service.group)]
EDGE = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "pki" / "edge" / "ca.crt"


@pytest.mark.parametrize("unit", UNITS)
def test_service_runs_and_is_enabled(host: Any, unit: str) -> None:
    assert host.service(unit).is_running
    assert host.service(unit).is_enabled


def test_only_ports_of_the_roles_listen(listening: set[str], address: str) -> None:
    at = {"node": address, "management": address, "virtual": VIP, "everywhere": "0.0.0.0"}  # noqa: S104
    declared = {
        f"{at[port.listens]}:{port.number}"
        for service in table.SERVICES
        for port in service.ports
        if port.listens != "loopback"
    }
    assert listening == {"[::]:22", *declared, *(f"{VIP}:{port}" for port in (443, 2762, 11112))}


def test_single_database_commits_without_a_standby(host: Any) -> None:
    (member,) = json.loads(host.check_output("patronictl -c /etc/patroni/hapacs.yml list --format=json"))
    assert (member["Role"], member["State"]) == ("Leader", "running")
    shown = host.check_output(
        "runuser --user postgres -- psql --tuples-only --command 'SHOW synchronous_standby_names'"
    )
    assert shown.strip() == ""


def test_catalog_exists(host: Any) -> None:
    host.check_output("runuser --user orthanc -- /opt/hapacs/venv/bin/hapacs-node check")


def test_only_root_can_change_our_code_and_weed_is_installed_once(host: Any) -> None:
    assert host.check_output("find /opt/hapacs -xdev '(' -not -user root -o -perm /022 ')' -not -type l") == ""
    assert host.check_output("find / -xdev -name weed -type f -size +50M").count("\n") == 0


def test_node_secrets_are_readable_by_orthanc_only(host: Any) -> None:
    modes = {
        name: host.file(f"/etc/hapacs/{name}") for name in ("database_password", "cas_credentials.json", "node.json")
    }
    assert {(file.user, file.group, file.mode) for file in modes.values()} == {("root", "orthanc", 0o640)}
    passfile = host.file("/etc/hapacs/pgpass")
    assert (passfile.user, passfile.mode) == ("orthanc", 0o600)
    assert host.file("/etc/hapacs").mode == 0o755


def test_callers_are_served_at_the_virtual_address() -> None:
    # The balancer asks each Orthanc first whether it can do its work.
    eventually("the storing service answers", lambda: calls("MODALITY", "HAPACS"), 60)
    eventually("the answering service answers", lambda: calls("WORKSTATION", "HAPACS_QR"), 60)
    assert not calls("NOBODY", "HAPACS")


def calls(calling: str, called: str) -> bool:
    try:
        echo(Caller(calling), Peer(VIP, 11112, called, timeout_s=20))
    except DicomError:
        return False
    return True


def test_dicomweb_answers_an_authenticated_client() -> None:
    with httpx.Client(verify=ssl.create_default_context(cafile=str(EDGE)), timeout=30) as web:
        assert web.get(f"https://{VIP}/dicom-web/studies").status_code == 401
        answer = web.get(f"https://{VIP}/dicom-web/studies", auth=("reader", "reader-password-of-the-test"))
        assert answer.status_code in {200, 204}
