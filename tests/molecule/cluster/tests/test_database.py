"""Quorum and database over three nodes: one leads, each commit is on two, another takes over and has each row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hapacs.load.waiting import eventually
from hapacs.verify import port_probe

NODES = [f"hapacs-molecule-cluster{number}" for number in (1, 2, 3)]
ETCDCTL = (
    "etcdctl --cacert=/etc/etcd/tls/ca-etcd.crt --cert=/etc/etcd/tls/server.crt --key=/etc/etcd/tls/server.key "
    "--endpoints=https://%s:2379 "
)
# What the product promises for the loss of a leader.
LEADER_LOST_S = 30


@pytest.mark.parametrize("unit", ["etcd", "patroni"])
def test_service_runs_and_is_enabled(host: Any, unit: str) -> None:
    assert host.service(unit).is_running
    assert host.service(unit).is_enabled
    # Debian's own service has no cluster to run; it is there and does nothing.
    assert not host.check_output("systemctl list-units --plain --no-legend 'postgresql@*'")


def test_each_etcd_member_is_healthy(host: Any, address: str) -> None:
    assert "is healthy" in host.run(ETCDCTL + "endpoint health 2>&1", address).stdout
    members = json.loads(host.check_output(ETCDCTL + "member list --write-out=json", address))["members"]
    assert {member["name"] for member in members} == set(NODES)


def test_each_port_requires_a_certificate_or_a_password(
    host: Any, address: str, other_host: Callable[[str], Any]
) -> None:
    # From the next node: the firewall lets nobody else come near.
    name = host.backend.get_hostname()
    neighbour = other_host(NODES[(NODES.index(name) + 1) % len(NODES)])
    targets = [
        {"address": address, "port": port, "kind": kind}
        for port, kind in ((2379, "tls"), (2380, "tls"), (8008, "tls"), (5432, "postgres"))
    ]
    program = Path(port_probe.__file__).read_text(encoding="utf-8")
    neighbour.check_output(f"cat >/tmp/port_probe.py <<'END'\n{program}\nEND")
    command = "runuser --user nobody -- python3 /tmp/port_probe.py %s"
    said = json.loads(neighbour.check_output(command, json.dumps(targets)))
    assert [(it["port"], it["reached"], it["problem"]) for it in said] == [(it["port"], True, "") for it in targets]
    for target in targets:
        assert not port_probe.probe(target)["reached"], "the firewall let a stranger through"


def test_secrets_are_readable_by_their_service_only(host: Any) -> None:
    file = host.file("/etc/patroni/hapacs.yml")
    assert (file.user, file.group, file.mode) == ("root", "postgres", 0o640)
    for key in ("/etc/etcd/tls/server.key", "/etc/patroni/tls/server.key", "/etc/patroni/tls/etcd.key"):
        assert host.file(key).mode & 0o007 == 0, key
    assert host.file("/srv/data/postgres/17").mode == 0o700
    assert host.file("/srv/data/etcd").mode == 0o700


def members(host: Any) -> dict[str, dict[str, Any]]:
    """Return what Patroni says of each member."""
    said = json.loads(host.check_output("patronictl -c /etc/patroni/hapacs.yml list --format=json"))
    return {member["Member"]: member for member in said}


def leader(host: Any) -> str:
    leaders = [name for name, member in members(host).items() if member["Role"] == "Leader"]
    return leaders[0] if len(leaders) == 1 else ""


def sql(host: Any, statement: str) -> str:
    return str(
        host.check_output(
            "runuser --user postgres -- psql --no-psqlrc --tuples-only --no-align pacs --command %s", statement
        )
    )


def test_one_member_leads_and_each_commit_is_on_two_nodes(host: Any, other_host: Callable[[str], Any]) -> None:
    eventually(
        "a leader and two that confirm", lambda: roles(host) == ["Leader", "Quorum Standby", "Quorum Standby"], 60
    )
    leading = other_host(leader(host))
    assert sql(leading, "SHOW synchronous_standby_names").startswith("ANY 1 (")
    assert sql(leading, "SHOW data_checksums") == "on"
    assert (
        sql(leading, "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate")
        == "cas pacs postgres"
    )


def roles(host: Any) -> list[str]:
    return sorted(member["Role"] for member in members(host).values())


def test_a_new_leader_has_every_row(other_host: Callable[[str], Any]) -> None:
    hosts = {name: other_host(name) for name in NODES}
    old = leader(hosts[NODES[0]])
    sql(hosts[old], "CREATE TABLE proof AS SELECT generate_series(1, 1000) AS number")
    witness = hosts[next(name for name in NODES if name != old)]
    try:
        # At once, as a crash: nothing is handed over.
        hosts[old].check_output(
            "systemctl kill --kill-whom=all --signal=KILL patroni.service; systemctl stop patroni.service"
        )
        new = eventually(
            "another one leads", lambda: leader(witness) if leader(witness) not in {"", old} else "", LEADER_LOST_S, 1
        )
        assert sql(hosts[new], "SELECT count(*), sum(number) FROM proof") == "1000|500500"
        sql(hosts[new], "INSERT INTO proof VALUES (1001)")
    finally:
        hosts[old].check_output("systemctl start patroni.service")
    eventually("the old one follows", lambda: roles(witness).count("Quorum Standby") == 2, 90, 2)
    assert sql(hosts[old], "SELECT count(*) FROM proof") == "1001"


def test_fences_run_and_find_a_good_database_alive(host: Any) -> None:
    for unit in ("postgres-fence", "postgres-room"):
        assert host.service(unit).is_running
        assert host.service(unit).is_enabled


def accepts_writes(hosts: dict[str, Any]) -> str:
    """Return a node whose database commits a row within 3 s, or empty."""
    command = "timeout 3 runuser --user postgres -- psql --no-psqlrc --command %s postgres"
    statement = "CREATE TEMPORARY TABLE written ON COMMIT DROP AS SELECT 1"
    committed = "SELECT pg_logical_emit_message(true, 'proof', 'x')"
    for name, host in hosts.items():
        if host.run(command, statement).rc == 0 and host.run(command, committed).rc == 0:
            return name
    return ""


@pytest.mark.parametrize("frozen", ["postgres", "patroni"])
def test_what_hangs_is_killed_and_the_database_takes_writes(other_host: Callable[[str], Any], frozen: str) -> None:
    hosts = {name: other_host(name) for name in NODES}
    old = eventually("a leader", lambda: leader(hosts[NODES[0]]), 60, 1)
    since = hosts[old].check_output("date '+%F %T'")
    killed = "journalctl --no-pager --unit=postgres-fence --since=%s --grep='killing both'"
    try:
        hosts[old].check_output("pkill -STOP -x %s", frozen)
        eventually("the fence kills", lambda: hosts[old].run(killed, since).rc == 0, LEADER_LOST_S, 1)
        eventually("a write is accepted", lambda: accepts_writes(hosts), LEADER_LOST_S, 1)
    finally:
        hosts[old].run("pkill -CONT -x %s", frozen)
    eventually("all follow", lambda: roles(hosts[old]) == ["Leader", "Quorum Standby", "Quorum Standby"], 90, 2)


def test_leader_without_room_hands_over_to_a_standby_with_room(other_host: Callable[[str], Any]) -> None:
    hosts = {name: other_host(name) for name in NODES}
    small = next(name for name in NODES if name != leader(hosts[NODES[0]]))
    units = "patroni postgres-fence postgres-room"
    hosts[small].check_output(
        f"systemctl stop {units} && cd /srv/data && mv postgres/17 postgres-17 && "
        "mount -t tmpfs -o size=$(( $(du -sm postgres-17 | cut -f1) + 900 ))M,mode=700 tmpfs postgres && "
        f"chown postgres:postgres postgres && cp -a postgres-17 postgres/17 && systemctl start {units}"
    )
    witness = hosts[next(name for name in NODES if name != small)]
    try:
        eventually("all follow", lambda: roles(witness).count("Quorum Standby") == 2, 90, 2)
        switch = "patronictl -c /etc/patroni/hapacs.yml switchover --leader=%s --candidate=%s --force"
        witness.check_output(switch, leader(witness), small)
        eventually("all follow the small one", lambda: roles(witness).count("Quorum Standby") == 2, 90, 2)
        assert leader(witness) == small
        hosts[small].run("dd if=/dev/zero of=/srv/data/postgres/fill bs=1M")
        new = eventually(
            "another one leads", lambda: leader(witness) if leader(witness) not in {"", small} else "", LEADER_LOST_S, 1
        )
        assert accepts_writes({new: hosts[new]})
    finally:
        hosts[small].check_output(
            f"systemctl stop {units}; umount /srv/data/postgres && mv /srv/data/postgres-17 /srv/data/postgres/17 && "
            f"systemctl start {units}"
        )
    eventually("the small one follows", lambda: roles(witness).count("Quorum Standby") == 2, 120, 2)


def test_leaders_of_database_and_etcd_are_on_different_nodes(host: Any) -> None:
    assert host.service("postgres-apart.timer").is_running
    assert host.check_output("runuser --user postgres -- /usr/local/lib/hapacs/postgres-cluster apart")
