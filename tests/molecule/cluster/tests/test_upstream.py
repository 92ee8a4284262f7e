"""Orthanc from "its authors": it runs, a wrong file is refused and harms nothing, and Debian's can come back."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.molecule.tls import certified

testinfra_hosts = ["ansible://hapacs-molecule-cluster1"]
UPSTREAM = json.loads((Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "upstream.json").read_text(encoding="utf-8"))
HOME = f"/opt/orthanc/{UPSTREAM['version']}"
SERVICES = {"store": 8042, "query": 8043}
AGAIN = "--tags=orthanc_configure,orthanc_run"
Apply = Callable[..., subprocess.CompletedProcess[str]]


def processes(host: Any) -> dict[str, int]:
    """Return the main process of each service."""
    show = "systemctl show --property=MainPID --value orthanc-%s"
    return {service: int(host.check_output(show, service)) for service in SERVICES}


def program(host: Any, service: str) -> str:
    return str(host.check_output(f"readlink /proc/{processes(host)[service]}/exe"))


def healthy(address: str, authorities: Path) -> bool:
    with httpx.Client(verify=certified(authorities, "pacs"), timeout=20) as web:
        answers = [web.get(f"https://{address}:{port}/hapacs/health") for port in SERVICES.values()]
    return [answer.status_code for answer in answers] == [200, 200]


@pytest.mark.parametrize("service", SERVICES)
def test_upstream_program_runs_with_upstream_plugins(host: Any, service: str) -> None:
    assert program(host, service) == f"{HOME}/Orthanc"
    mapped = host.file(f"/proc/{processes(host)[service]}/maps").content_string
    assert f"{HOME}/libOrthancPostgreSQLIndex.so" in mapped
    assert f"{HOME}/libOrthancPython.so" in mapped
    # The one that is not listed is Debian's.
    assert "/libOrthancDicomWeb.so" in mapped
    assert f"{HOME}/libOrthancDicomWeb.so" not in mapped


def test_only_root_can_change_it(host: Any) -> None:
    for file in UPSTREAM["files"]:
        found = host.file(f"{HOME}/{Path(file['path']).name}")
        assert (found.user, found.group, found.mode & 0o022) == ("root", "root", 0)
        assert found.sha256sum == file["sha256"]


def test_node_stores_with_upstream_program(address: str, authorities: Path) -> None:
    assert healthy(address, authorities)


def test_file_with_another_digest_is_refused_without_effect(
    host: Any, address: str, authorities: Path, apply: Apply
) -> None:
    before = processes(host)
    wrong = [file | {"sha256": "0" * 64} if file["path"].endswith("Index.so") else file for file in UPSTREAM["files"]]
    done = apply(host, AGAIN, orthanc_upstream_files=wrong)
    assert done.returncode != 0
    assert "latest/libOrthancPostgreSQLIndex.so" in done.stdout + done.stderr
    assert "did not match" in done.stdout + done.stderr
    assert "Nothing was installed and the services run on as they are" in " ".join((done.stdout + done.stderr).split())
    assert processes(host) == before
    assert healthy(address, authorities)
    test_only_root_can_change_it(host)


def test_file_changed_on_the_controller_is_not_installed(host: Any, apply: Apply) -> None:
    cached = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "cache" / UPSTREAM["version"] / "Orthanc"
    cached.write_bytes(cached.read_bytes() + b"\0")
    # The controller notices it and downloads the file again; nothing changes on the node.
    done = apply(host, AGAIN)
    assert done.returncode == 0, done.stdout[-3000:]
    test_only_root_can_change_it(host)


def test_unexpected_version_is_refused(host: Any, apply: Apply) -> None:
    before = processes(host)
    done = apply(host, AGAIN, orthanc_upstream_version="9.9.9")
    assert done.returncode != 0
    assert "says of itself" in done.stdout + done.stderr
    assert processes(host) == before


def test_debian_and_upstream_can_be_switched(host: Any, address: str, authorities: Path, apply: Apply) -> None:
    done = apply(host, AGAIN, orthanc_source="debian")
    assert done.returncode == 0, done.stdout[-3000:]
    assert {program(host, service) for service in SERVICES} == {"/usr/sbin/Orthanc"}
    assert healthy(address, authorities)
    done = apply(host, AGAIN)
    assert done.returncode == 0, done.stdout[-3000:]
    assert {program(host, service) for service in SERVICES} == {f"{HOME}/Orthanc"}
    assert healthy(address, authorities)
