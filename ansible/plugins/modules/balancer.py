#!/usr/bin/python
"""Ansible module: pause and resume the servers of a running balancer, and select the storing one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: balancer
short_description: Pause and resume servers of a running HAProxy, and select the storing one
description:
  - Uses HAProxy's administration socket. Changes hold until HAProxy is reloaded or restarted; lasting changes are in
    its configuration (C(haproxy_drained) of the role haproxy).
  - Running associations continue. A paused server gets no new ones.
options:
  paused:
    description: Servers to pause.
    type: list
    elements: str
    default: []
  resumed:
    description: Servers to resume.
    type: list
    elements: str
    default: []
  services:
    description: Services of the node to which this applies.
    type: list
    elements: str
    choices: [store, query]
    default: [store, query]
  writer:
    description: The server that stores from now on. Only on the node with the virtual address; the peers follow.
    type: str
  idle_s:
    description: Maximum time to wait until paused servers have no association and no web request
      left, in seconds. The module does not fail after it.
    type: int
    default: 0
  settle_s:
    description: Maximum time until the table shows a new writer, in seconds.
    type: int
    default: 5
  socket:
    description: HAProxy's administration socket.
    type: path
    default: /run/haproxy/admin.sock
author: hapacs
"""

EXAMPLES = r"""
- name: Give pacs2 nothing new
  balancer:
    paused: [pacs2]

- name: Let pacs3 store
  balancer:
    writer: pacs3
"""

RETURN = r"""
done:
  description: Changes that were made.
  returned: always
  type: list
  elements: str
servers:
  description: C(status) and running C(sessions) afterwards, by service and server.
  returned: always
  type: dict
"""

import csv
import socket
import time
from collections import Counter
from typing import Any

from ansible.module_utils.basic import AnsibleModule

TABLE = "store_dicom"
# Backends of each service. Servers of the other backends track the first one's, which are paused and queried.
BACKENDS = {
    "store": ("store_dicom", "store_web", "stow_web", "echo_dicom"),
    "query": ("query_dicom", "query_web", "retrieve_web", "search_web"),
}
# Bits of srv_admin_state in `show servers state` (HAProxy management guide 9.3): a server gets nothing
# new, because of maintenance or draining.
PAUSED = 0x01 | 0x08


class BalancerError(Exception):
    """HAProxy refused a command."""


class Balancer:
    """HAProxy through its socket."""

    def __init__(self, path: str) -> None:
        self._path = path

    def say(self, command: str) -> str:
        """Send one command and return the answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(self._path)
            connection.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode().strip()

    def tell(self, command: str) -> None:
        """Send a command whose answer is empty on success."""
        if answer := self.say(command):
            raise BalancerError(f"HAProxy answers `{command}`: {answer}")

    def statistics(self) -> list[dict[str, str]]:
        """Return the rows of all servers."""
        rows = csv.DictReader(self.say("show stat").removeprefix("# ").splitlines())
        return [row for row in rows if row["svname"] not in {"FRONTEND", "BACKEND"}]

    def servers(self, backend: str) -> dict[str, dict[str, str]]:
        """Return the servers of a backend: their row of the statistics."""
        return {row["svname"]: row for row in self.statistics() if row["pxname"] == backend}

    def paused(self, backend: str) -> dict[str, bool]:
        """Return for each server of a backend whether it is paused.

        The status in the statistics doesn't say so while a server is down.
        """
        version, *table = self.say(f"show servers state {backend}").splitlines()
        if version != "1" or not table:
            raise BalancerError(f"HAProxy answers `show servers state {backend}`: {version}")
        rows = csv.DictReader([table[0].removeprefix("# "), *table[1:]], delimiter=" ")
        return {row["srv_name"]: bool(int(row["srv_admin_state"]) & PAUSED) for row in rows}

    def writer(self) -> str:
        """Return the server in the table, or an empty text."""
        for line in self.say(f"show table {TABLE}").splitlines():
            words = dict(word.partition("=")[::2] for word in line.split() if "=" in word)
            if (name := words.get("server_key", "-")) not in {"", "-"}:
                return name
            for name, row in self.servers(TABLE).items():
                if row["sid"] == words.get("server_id"):
                    return name
        return ""


def switch(balancer: Balancer, backend: str, names: list[str], state: str) -> list[str]:
    """Pause (`drain`) or resume (`ready`) servers of a backend; return those that changed."""
    present = balancer.paused(backend)
    if unknown := sorted(set(names) - set(present)):
        raise BalancerError(f"{backend} has no server {', '.join(unknown)}; it has {', '.join(sorted(present))}")
    wrong = [name for name in names if present[name] != (state == "drain")]
    return [f"{backend}/{name} {state}" for name in wrong]


def states(balancer: Balancer, service: str) -> dict[str, dict[str, Any]]:
    """Return the status of a service's servers, and how many associations and web requests run."""
    found: dict[str, dict[str, Any]] = {}
    sessions: Counter[str] = Counter()
    for row in balancer.statistics():
        if row["pxname"] in BACKENDS[service]:
            sessions[row["svname"]] += int(row["scur"])
        if row["pxname"] == BACKENDS[service][0]:
            found[row["svname"]] = {"status": row["status"]}
    return {name: {**server, "sessions": sessions[name]} for name, server in found.items()}


def busy(balancer: Balancer, services: list[str], names: list[str]) -> list[str]:
    """Return the given servers that have running associations or requests."""
    found = [(service, name, server) for service in services for name, server in states(balancer, service).items()]
    return [f"{service}/{name}" for service, name, server in found if name in names and server["sessions"]]


def move(balancer: Balancer, name: str, settle_s: int) -> None:
    """Write the storing server into the table, until no starting association overwrites it.

    The table prefers names to numbers, and only numbers can be set, so the entry is removed and set again.
    """
    row = balancer.servers(TABLE).get(name, {})
    if not row.get("status", "").startswith("UP"):
        raise BalancerError(f"{name} is not up for this balancer: it can't store")
    number = row["sid"]
    deadline = time.monotonic() + settle_s
    while True:
        balancer.say(f"clear table {TABLE} key 1")
        balancer.tell(f"set table {TABLE} key 1 data.server_id {number}")
        time.sleep(0.5)
        if balancer.writer() == name:
            return
        if time.monotonic() > deadline:
            raise BalancerError(f"{balancer.writer() or 'nobody'} stores and not {name}: look at `show table {TABLE}`")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "paused": {"type": "list", "elements": "str", "default": []},
            "resumed": {"type": "list", "elements": "str", "default": []},
            "services": {
                "type": "list",
                "elements": "str",
                "choices": ["store", "query"],
                "default": ["store", "query"],
            },
            "writer": {"type": "str"},
            "idle_s": {"type": "int", "default": 0},
            "settle_s": {"type": "int", "default": 5},
            "socket": {"type": "path", "default": "/run/haproxy/admin.sock"},
        },
        supports_check_mode=True,
    )
    balancer, writer = Balancer(module.params["socket"]), module.params["writer"]
    try:
        done = []
        for service in module.params["services"]:
            for state, names in (("drain", module.params["paused"]), ("ready", module.params["resumed"])):
                done += switch(balancer, f"{service}_dicom", names, state)
        if not module.check_mode:
            for change in done:
                server, _, state = change.partition(" ")
                balancer.tell(f"set server {server} state {state}")
        if writer and balancer.writer() != writer:
            done.append(f"{writer} stores")
            if not module.check_mode:
                move(balancer, writer, module.params["settle_s"])
        deadline = time.monotonic() + module.params["idle_s"]
        while busy(balancer, module.params["services"], module.params["paused"]) and time.monotonic() < deadline:
            time.sleep(1)
        servers = {service: states(balancer, service) for service in module.params["services"]}
    except (BalancerError, OSError) as error:
        module.fail_json(msg=f"{error}. `journalctl -u haproxy` on this node says more.")
    module.exit_json(changed=bool(done), done=done, servers=servers)


if __name__ == "__main__":
    main()
