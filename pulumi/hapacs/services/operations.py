"""In which order services restart, what is handed over before, and how they take up new secrets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hapacs.services import nodes, table
from hapacs.services.model import Lead, Service, Sizing

ALL = "all"
"""Stands for every service where one is named."""


@dataclass(frozen=True)
class Part:
    """A task file of a role, and the group whose nodes run it.

    Attributes
    ----------
    registers
        Variables in which its tasks with `service_current` register their results.
    """

    role: str
    tasks: str
    group: str
    registers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rotation:
    """How a kind of secret is taken up.

    Attributes
    ----------
    write
        Parts that write the new value down, on all nodes at once.
    take_up
        Parts that restart or reload the services, node after node.
    client_write, client_take_up
        The same for services that get the new value only once the others take both.
    """

    write: tuple[Part, ...]
    take_up: tuple[Part, ...]
    client_write: tuple[Part, ...]
    client_take_up: tuple[Part, ...]


def restartable() -> list[str]:
    """Return the services that can be restarted as an operation, in the order in which that is done."""
    return [service.unit for service in table.SERVICES if service.restart]


def restarts(unit: str = ALL) -> list[Part]:
    """Return the parts of roles that restart one service, or all, in the order of a site."""
    return _restarts(service for service in table.SERVICES if unit in (service.unit, ALL))


def _restarts(services: Iterable[Service]) -> list[Part]:
    registers: dict[tuple[str, str, str], dict[str, None]] = {}
    for service in services:
        if service.restart:
            key = (service.role, service.restart.tasks, service.group or ALL)
            registers.setdefault(key, {})[service.restart.register] = None
    return [Part(*key, registers=tuple(names)) for key, names in registers.items()]


def with_certificates() -> list[Part]:
    """Return the parts of roles that renew certificates of services."""
    parts = [
        Part(service.role, "certificates", service.group or ALL) for service in table.SERVICES if service.certificates
    ]
    return list(dict.fromkeys(parts))


def leads(units: Iterable[str]) -> list[Lead]:
    """Return what a node has to hand over before units of it are restarted."""
    named = {unit.removesuffix(".service") for unit in units}
    return sorted(
        {lead for service in table.SERVICES if service.restart and service.unit in named
         for lead in service.restart.hands_over}
    )  # fmt: skip


def rotation(kind: str) -> Rotation:
    """Return how the services take up new values of a kind of secret; nothing for one that only the controller uses."""
    found = [(service, secret) for service in table.SERVICES for secret in service.secrets if secret.kind == kind]

    def write(*, client: bool) -> tuple[Part, ...]:
        parts = [
            Part(secret.role or service.role, secret.tasks, service.group or ALL)
            for service, secret in found
            if secret.client == client
        ]
        return tuple(dict.fromkeys(parts))

    def take_up(*, client: bool) -> tuple[Part, ...]:
        # The whole role: its task file looks at all services of the role, and restarts those with a newer file.
        names = {service.role for service, secret in found if secret.client == client}
        return tuple(_restarts(service for service in table.SERVICES if service.role in names))

    return Rotation(write(client=False), take_up(client=False), write(client=True), take_up(client=True))


def of_database(node: str, members: nodes.Members, sizing: Sizing) -> Sequence[str]:
    """Return the units of a node that use the database, which stop while it is restored, in the order of a site."""
    found = nodes.of_node(node, members, sizing)
    timers = [one.unit for one in found if one.unit.endswith(".timer") and "hapacs_node" in one.prepared_by]
    return [
        # A login at the database is what they have in common.
        *(one.unit for one in found if any(secret.kind in {"pacs", "cas"} for secret in one.secrets)),
        *timers,
        *(unit.replace(".timer", ".service") for unit in timers),
    ]


def together(kind: str, node: str, members: nodes.Members, sizing: Sizing) -> Sequence[str]:
    """Return the units of a node that restart at the same time as those of all others when a secret changes."""
    return [
        service.unit
        for service in nodes.of_node(node, members, sizing)
        if any(secret.kind == kind and secret.together for secret in service.secrets)
    ]
