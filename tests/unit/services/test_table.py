"""Rows of the table: unique, and about roles, tasks, variables, secrets and authorities that exist."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import yaml

from hapacs import pki, rotation
from hapacs.services import table
from hapacs.services.model import Service
from tests.unit.ansible.loading import ANSIBLE

each_service = pytest.mark.parametrize("service", table.SERVICES, ids=lambda service: service.unit)


def tasks(role: str, name: str) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = yaml.safe_load((ANSIBLE / "roles" / role / "tasks" / f"{name}.yml").read_text())
    return read


def test_units_and_ports_are_declared_once() -> None:
    # A node of a compact site runs all services, so a number belongs to one of them.
    units = Counter(service.unit for service in table.SERVICES)
    ports = Counter(port.number for service in table.SERVICES for port in service.ports)
    assert [name for name, count in (units + ports).items() if count > 1] == []


@each_service
def test_names_of_ports_are_unique_and_used_by_health_and_metrics(service: Service) -> None:
    names = [port.name for port in service.ports]
    assert len(names) == len(set(names))
    if service.health and not service.health.command:
        assert service.health.port in names
    if service.metrics:
        assert service.metrics.port in names


@each_service
def test_port_without_tls_is_closed(service: Service) -> None:
    for port in service.ports:
        assert (port.authority is None) == (port.guard in {"closed", "ssh"}), port
        assert port.guard != "closed" or not port.reached_by, port


@each_service
def test_restart_names_a_task_that_registers_its_result(service: Service) -> None:
    if service.restart is None:
        return
    found = [task for task in tasks(service.role, service.restart.tasks) if "service_current" in task]
    assert service.restart.register in {task.get("register") for task in found}


@each_service
def test_role_has_the_task_files_that_the_row_needs(service: Service) -> None:
    for role in (service.role, *service.prepared_by):
        assert (ANSIBLE / "roles" / role / "tasks" / "install.yml").is_file()
    for secret in service.secrets:
        assert tasks(secret.role or service.role, secret.tasks)
    if service.certificates:
        assert [task for task in tasks(service.role, "certificates") if "certificates" in task]


def test_every_kind_of_secret_is_taken_up() -> None:
    kinds = {secret.kind for service in table.SERVICES for secret in service.secrets}
    # The passphrase of the authorities is used by the controller alone.
    assert kinds == rotation.KINDS.keys() - {"pki"}


def test_authorities_exist() -> None:
    named = {port.authority for service in table.SERVICES for port in service.ports if port.authority}
    assert named == set(pki.AUTHORITIES)
