"""Faults on a host: each takes effect, is undone, and ends by itself; a forbidden host refuses them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from testinfra.host import Host  # type: ignore[import-untyped]

testinfra_hosts = ["ansible://hapacs-molecule-drill"]
PROGRAM = "/usr/local/lib/hapacs/hapacs-drill"
UNIT = "drilled.service"
REFUSED = 3


def drill(host: Host, *words: str) -> Any:
    """Run the program, and return its result."""
    quoted = " ".join(f"'{word}'" for word in words)
    return host.run(f"{PROGRAM} {quoted}")


def inject(host: Host, lease_s: int = 60, **fault: object) -> Any:
    return drill(host, "inject", str(lease_s), json.dumps(fault))


def states(host: Host) -> list[str]:
    """Return the states of the unit's processes (proc(5)); T is stopped."""
    pid = host.check_output(f"systemctl show --property=MainPID --value {UNIT}").strip()
    return [] if pid == "0" else host.check_output(f"ps -o stat= -p {pid}").split()


@pytest.fixture(autouse=True)
def unit(host: Host) -> Iterator[None]:
    """A unit to hit, and no fault before or after the test."""
    host.check_output(f"systemd-run --quiet --unit={UNIT} sh -c 'sleep infinity & exec sleep infinity'")
    yield
    drill(host, "allow")
    drill(host, "heal")
    host.run(f"systemctl kill --signal=SIGKILL {UNIT}; systemctl stop {UNIT}; systemctl reset-failed {UNIT}")


def test_paused_unit_runs_again_after_the_fault(host: Host) -> None:
    assert inject(host, kind="pause", unit=UNIT).rc == 0
    assert drill(host, "prove").rc == 0
    assert all(state.startswith("T") for state in states(host))
    assert json.loads(drill(host, "heal").stdout) == {"healed": True}
    assert not any(state.startswith("T") for state in states(host))
    assert json.loads(drill(host, "heal").stdout) == {"healed": False}


@pytest.mark.parametrize(("whom", "stopped"), [("all", 2), ("main", 1)])
def test_main_process_alone_can_be_paused(host: Host, whom: str, stopped: int) -> None:
    assert inject(host, kind="pause", unit=UNIT, whom=whom).rc == 0
    assert f"{stopped} processes of {UNIT} are stopped" in drill(host, "prove").stdout
    group = host.check_output(f"systemctl show --property=ControlGroup --value {UNIT}").strip()
    pids = host.check_output(f"cat /sys/fs/cgroup{group}/cgroup.procs").split()
    found = host.check_output(f"ps -o stat= -p {','.join(pids)}").split()
    assert [state[0] for state in found].count("T") == stopped
    assert len(found) == 2


def test_killed_unit_is_gone(host: Host) -> None:
    assert inject(host, kind="kill", unit=UNIT).rc == 0
    assert drill(host, "prove").rc == 0
    assert states(host) == []


def test_fault_ends_with_its_lease_although_nobody_undoes_it(host: Host) -> None:
    assert inject(host, 3, kind="pause", unit=UNIT).rc == 0
    assert all(state.startswith("T") for state in states(host))
    limit = time.monotonic() + 30
    while any(state.startswith("T") for state in states(host)) and time.monotonic() < limit:
        time.sleep(0.5)
    assert not any(state.startswith("T") for state in states(host))
    assert not host.file("/var/lib/hapacs/drill.json").exists


def test_packets_are_dropped_until_the_fault_is_undone(host: Host) -> None:
    # The controller is no peer: its connection has to survive. 192.0.2.0/24 is never anybody's (RFC 5737).
    assert inject(host, kind="cut", peers=["192.0.2.1"], ports=[9], ways=["out"]).rc == 0
    assert drill(host, "prove").rc == 1, "nothing was sent yet"
    host.run("timeout 1 bash -c 'echo > /dev/tcp/192.0.2.1/9'")
    assert drill(host, "prove").rc == 0
    drill(host, "heal")
    assert "hapacs_drill" not in host.check_output("nft list tables")


def test_lost_packets_are_counted(host: Host) -> None:
    # To a port of the host itself on which nobody listens: each datagram is a packet, and so is its refusal.
    assert inject(host, kind="lose", peers=["127.0.0.1"], percent=5).rc == 0
    assert drill(host, "prove").rc == 1, "too few packets to measure a share"
    script = (
        "import socket\n"
        "for _ in range(400):\n"
        "    caller = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "    try: caller.sendto(b'1', ('127.0.0.1', 9))\n"
        "    except PermissionError: pass\n"
    )
    host.check_output(f'python3 -c "{script}"')
    proved = drill(host, "prove")
    assert proved.rc == 0
    assert "packets from or to 127.0.0.1 were dropped" in proved.stdout
    drill(host, "heal")
    assert "hapacs_drill" not in host.check_output("nft list tables")


@pytest.fixture
def far(host: Host) -> Iterator[str]:
    """The address of another host: a network namespace at the end of a cable."""
    for words in (
        "netns add far",
        "link add near type veth peer name there netns far",
        "address add 198.51.100.1/30 dev near",
        "link set near up",
        "-n far address add 198.51.100.2/30 dev there",
        "-n far link set there up",
    ):
        host.check_output(f"ip {words}")
    yield "198.51.100.2"
    drill(host, "heal")
    host.check_output("ip link delete near; ip netns delete far")


def test_link_is_slow_until_the_fault_is_undone(host: Host, far: str) -> None:
    assert inject(host, kind="slow", peers=[far], delay_ms=200, port=9).rc == 0
    proved = drill(host, "prove")
    assert proved.rc == 0, proved.stderr
    assert "a round trip takes 20" in proved.stdout
    drill(host, "heal")
    assert "hapacs-drill" not in host.check_output("ip -brief link; ip rule list")
    assert "hapacs_drill" not in host.check_output("nft list tables")
    begun = time.monotonic()
    host.run(f"timeout 1 bash -c 'echo > /dev/tcp/{far}/9'")
    assert time.monotonic() - begun < 0.9


def test_link_is_not_slow_when_the_program_is_gone(host: Host, far: str) -> None:
    assert inject(host, kind="slow", peers=[far], delay_ms=200, port=9).rc == 0
    host.check_output("systemctl kill --signal=SIGKILL hapacs-drill-slow.service")
    assert drill(host, "prove").rc == 1
    assert drill(host, "heal").rc == 0


def test_stopped_unit_stays_off_until_the_fault_is_undone(host: Host) -> None:
    # A transient unit would be gone with its process.
    unit = "kept.service"
    text = "[Service]\\nExecStart=sleep infinity\\nRestart=always\\n"
    host.check_output(
        f"printf '{text}' > /run/systemd/system/{unit} && systemctl daemon-reload && systemctl start {unit}"
    )
    assert inject(host, kind="stop", unit=unit).rc == 0
    limit = time.monotonic() + 30
    while drill(host, "prove").rc != 0 and time.monotonic() < limit:
        time.sleep(0.5)
    assert host.run(f"systemctl is-active {unit}").stdout.strip() == "inactive"
    assert drill(host, "heal").rc == 0
    while host.run(f"systemctl is-active {unit}").rc != 0 and time.monotonic() < limit:
        time.sleep(0.5)
    assert host.run(f"systemctl is-active {unit}").rc == 0
    host.check_output(f"systemctl stop {unit}; rm /run/systemd/system/{unit}; systemctl daemon-reload")


def test_certificate_ends_in_a_service_that_runs(host: Host) -> None:
    unit, directory = "tls.service", "/run/tls"
    key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    made = f"openssl req -x509 {key} -subj /CN=drill -days {{days}} -keyout {{name}}.key -out {{name}}.crt"
    server = f"openssl s_server -accept 127.0.0.1:4433 -cert {directory}/node.crt -key {directory}/node.key -quiet"
    text = f"[Service]\\nExecStart=/usr/bin/{server}\\n"
    for command in (
        f"mkdir -p {directory}",
        made.format(days=2, name=f"{directory}/node"),
        # It has ended already: to wait for the end is the playbook's.
        made.format(days="1 -not_before 20200101000000Z -not_after 20200102000000Z", name=f"{directory}/short"),
        f"cp {directory}/short.crt {directory}/authority.crt",
        f"printf '{text}' > /run/systemd/system/{unit}",
        f"systemctl daemon-reload; systemctl start {unit}",
    ):
        host.check_output(command)
    before = host.check_output(f"cat {directory}/node.crt {directory}/node.key")
    fault = {"path": f"{directory}/node", "by": f"{directory}/short", "authority": f"{directory}/authority.crt"}
    assert inject(host, 60, kind="certificate", units=[unit], address="127.0.0.1", port=4433, **fault).rc == 0
    limit = time.monotonic() + 30
    while drill(host, "prove").rc != 0 and time.monotonic() < limit:
        time.sleep(0.5)
    assert "expired" in drill(host, "prove").stdout
    assert drill(host, "heal").rc == 0
    assert host.check_output(f"cat {directory}/node.crt {directory}/node.key") == before
    host.check_output(f"systemctl stop {unit}; rm -r {directory} /run/systemd/system/{unit}; systemctl daemon-reload")


def test_clock_of_a_container_is_left_alone(host: Host) -> None:
    refused = inject(host, kind="clock", seconds=600)
    assert refused.rc == REFUSED
    assert "has the clock of its host" in refused.stderr
    assert not host.file("/var/lib/hapacs/drill.json").exists


def test_unit_without_a_process_is_no_fault(host: Host) -> None:
    assert inject(host, kind="pause", unit="nosuch.service").rc == REFUSED
    assert drill(host, "prove").rc == REFUSED


def test_second_fault_is_refused(host: Host) -> None:
    assert inject(host, kind="pause", unit=UNIT).rc == 0
    assert inject(host, kind="kill", unit=UNIT).rc == REFUSED


def test_forbidden_host_undoes_the_fault_and_refuses_further_ones(host: Host) -> None:
    assert inject(host, kind="pause", unit=UNIT).rc == 0
    assert drill(host, "forbid").rc == 0
    assert not any(state.startswith("T") for state in states(host))
    refused = inject(host, kind="pause", unit=UNIT)
    assert refused.rc == REFUSED
    assert "hapacs drill allow" in refused.stderr
    assert drill(host, "allow").rc == 0
    assert inject(host, kind="pause", unit=UNIT).rc == 0
