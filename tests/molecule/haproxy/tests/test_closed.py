"""A balancer without callers and users refuses everybody; its ports differ from the defaults."""

from __future__ import annotations

import http.client
import os
import ssl
from pathlib import Path
from typing import Any

import pytest

from hapacs import dicom
from hapacs.dicom import AssociationRefusedError, Caller, Peer

testinfra_hosts = ["ansible://hapacs-molecule-haproxy-closed"]
AUTHORITY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "pki" / "edge" / "ca.crt"


def test_haproxy_listens_at_other_ports(host: Any, listening: set[str], address: str) -> None:
    assert host.service("haproxy").is_running
    ports = {104, 2763, 8443, 9404, 7780, 7781, 8407}
    assert listening == {"0.0.0.0:22", "[::]:22", *(f"{address}:{port}" for port in ports)}


@pytest.mark.parametrize("calling", ["MODALITY", "HAPROXY", "HAPACS"])
def test_every_caller_is_refused(address: str, calling: str) -> None:
    with pytest.raises(AssociationRefusedError):
        dicom.echo(Caller(calling), Peer(address, 104, "HAPACS"))


@pytest.mark.parametrize("login", [None, "Basic cmVhZGVyOnJlYWRlcg=="])
def test_every_login_is_refused(address: str, login: str | None) -> None:
    connection = http.client.HTTPSConnection(
        address, 8443, context=ssl.create_default_context(cafile=str(AUTHORITY)), timeout=20
    )
    connection.request("GET", "/dicom-web/studies", headers={"Authorization": login} if login else {})
    assert connection.getresponse().status == 401
