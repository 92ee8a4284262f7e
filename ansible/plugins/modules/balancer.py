#!/usr/bin/python
"""Ansible module: which servers a running balancer gives work to, and which one stores."""

from __future__ import annotations

DOCUMENTATION = r"""
module: balancer
short_description: Pause and resume servers of a running HAProxy, and move the storing one
description:
  - Speaks to HAProxy's own socket. What it changes holds until HAProxy is reloaded or restarted; what has to last is in
    its configuration (C(haproxy_drained) of the role haproxy).
  - Associations under way go on. A paused server gets nothing new.
options:
  paused:
    description: Servers that get nothing new.
    type: list
    elements: str
    default: []
  resumed:
    description: Servers that get their share again.
    type: list
    elements: str
    default: []
  services:
    description: Which of a node's services is meant.
    type: list
    elements: str
    choices: [store, query]
    default: [store, query]
  writer:
    description: The server that stores from now on. Only where the virtual address is; the balancers tell each other.
    type: str
  idle_s:
    description: For how long, in seconds, to wait until paused servers have no association and no request of the web
      left. Then it goes on.
    type: int
    default: 0
  settle_s:
    description: For how long, in seconds, a writer that was moved may take until the table shows it.
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
  description: What was changed.
  returned: always
  type: list
  elements: str
servers:
  description: Afterwards, by service and server, its C(status) and its C(sessions) under way.
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
# What is under way to each service. The servers of the web's backends follow those of DICOM, which are told and asked.
BACKENDS = {"store": ("store_dicom", "store_web"), "query": ("query_dicom", "query_web", "retrieve_web")}
# Bits of srv_admin_state in `show servers state` (HAProxy management guide 9.3): it was said that a server gets nothing
# new, by maintenance or by draining.
PAUSED = 0x01 | 0x08


class BalancerError(Exception):
    """HAProxy did not do what it was told."""


class Balancer:
    """HAProxy, by its socket."""

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
        """Send a command that answers nothing when it is obeyed."""
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
        """Tell of each server of a backend whether it was paused.

        The status in the statistics doesn't say so while a server is down.
        """
        version, *table = self.say(f"show servers state {backend}").splitlines()
        if version != "1" or not table:
            raise BalancerError(f"HAProxy answers `show servers state {backend}`: {version}")
        rows = csv.DictReader([table[0].removeprefix("# "), *table[1:]], delimiter=" ")
        return {row["srv_name"]: bool(int(row["srv_admin_state"]) & PAUSED) for row in rows}

    def writer(self) -> str:
        """Return which server the table names, or nothing."""
        for line in self.say(f"show table {TABLE}").splitlines():
            words = dict(word.partition("=")[::2] for word in line.split() if "=" in word)
            if (name := words.get("server_key", "-")) not in {"", "-"}:
                return name
            for name, row in self.servers(TABLE).items():
                if row["sid"] == words.get("server_id"):
                    return name
        return ""


def switch(balancer: Balancer, backend: str, names: list[str], state: str) -> list[str]:
    """Pause (`drain`) or resume (`ready`) servers of a backend; return those that were not so yet."""
    present = balancer.paused(backend)
    if unknown := sorted(set(names) - set(present)):
        raise BalancerError(f"{backend} has no server {', '.join(unknown)}; it has {', '.join(sorted(present))}")
    wrong = [name for name in names if present[name] != (state == "drain")]
    return [f"{backend}/{name} {state}" for name in wrong]


def states(balancer: Balancer, service: str) -> dict[str, dict[str, Any]]:
    """Return status of a service's servers, and how many associations and requests of the web are under way."""
    found: dict[str, dict[str, Any]] = {}
    sessions: Counter[str] = Counter()
    for row in balancer.statistics():
        if row["pxname"] in BACKENDS[service]:
            sessions[row["svname"]] += int(row["scur"])
        if row["pxname"] == BACKENDS[service][0]:
            found[row["svname"]] = {"status": row["status"]}
    return {name: {**server, "sessions": sessions[name]} for name, server in found.items()}


def busy(balancer: Balancer, services: list[str], names: list[str]) -> list[str]:
    """Return which of some servers have associations or requests under way."""
    found = [(service, name, server) for service in services for name, server in states(balancer, service).items()]
    return [f"{service}/{name}" for service, name, server in found if name in names and server["sessions"]]


def move(balancer: Balancer, name: str, settle_s: int) -> None:
    """Write into the table which server stores, until an association that was just beginning no longer writes back.

    The table prefers a server's name to its number, and only the number can be set: so the entry is made anew.
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
