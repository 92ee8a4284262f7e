"""Which callers reach the storing service, and what ends their associations."""

from __future__ import annotations

import socket
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hapacs import pki
from hapacs.load.waiting import eventually
from tests.molecule.balancer import command
from tests.support.refusal import refusal

testinfra_hosts = ["ansible://hapacs-molecule-haproxy"]
OVERLOADED, CONGESTED = (2, 3, 2), (2, 3, 1)
# The type of an A-ASSOCIATE-RJ (PS3.8 9.3.4).
REJECTED = b"\x03"
SERVERS = ("store_dicom/absent", "quorum/other")
CUT_S = 12
# Accepts associations and then says nothing, and lets the check at 8042 wait, as a stopped process does.
STOPPED_SERVICE = """
import socket, ssl, threading
silent, kept = socket.create_server(("0.0.0.0", 8042)), []
threading.Thread(target=lambda: [kept.append(silent.accept()) for _ in range(100)], daemon=True).start()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/root/absent.crt", "/root/absent.key")
dicom = socket.create_server(("0.0.0.0", 4242))
print("ready", flush=True)
while True:
    connection = context.wrap_socket(dicom.accept()[0], server_side=True)
    kept.append(connection)
    connection.recv(1000)
    connection.sendall(b"\\2")
"""


@pytest.fixture
def able(host: Any) -> Generator[None]:
    """Make the balancer believe that its only storing service and the other machine of the quorum are there."""
    for server in SERVERS:
        command(host, f"disable health {server}")
        command(host, f"set server {server} health up")
    yield
    for server in SERVERS:
        command(host, f"set server {server} health down")
        command(host, f"enable health {server}")


def proposed(abstract_syntax: bytes) -> bytes:
    """Return the item that proposes a presentation context (PS3.8 9.3.2.2)."""
    names = ((b"\x30", abstract_syntax), (b"\x40", b"1.2.840.10008.1.2"))
    content = b"\1\0\0\0" + b"".join(kind + b"\0" + len(name).to_bytes(2) + name for kind, name in names)
    return b"\x20\0" + len(content).to_bytes(2) + content


def opened(address: str, calling: str, items: bytes = b"") -> socket.socket:
    """Ask for an association with the storing service; return the open connection."""
    titles = b"HAPACS".ljust(16) + calling.encode().ljust(16)
    connection = socket.create_connection((address, 11112), timeout=CUT_S)
    length = (68 + len(items)).to_bytes(4)
    connection.sendall(b"\x01\x00" + length + b"\x00\x01\x00\x00" + titles + bytes(32) + items)
    return connection


def answer(connection: socket.socket) -> bytes:
    """Return the type of the first answer, or nothing after a second."""
    connection.settimeout(1)
    try:
        return connection.recv(1)
    except TimeoutError:
        return b""


def usable(host: Any) -> bool:
    """Return what keepalived learns at the balancer's socket."""
    script = "import socket; s=socket.socket(socket.AF_UNIX); s.connect('/run/haproxy/alive.sock'); "
    script += "s.sendall(b'GET /usable HTTP/1.0\\r\\n\\r\\n'); print(s.recv(100).decode())"
    return " 200 " in str(host.check_output("python3 -c %s", script))


def test_balancer_without_storing_service_refuses_stores_and_is_not_usable(host: Any, address: str) -> None:
    assert refusal(address, "MODALITY", "HAPACS") == CONGESTED
    assert not usable(host)


@pytest.mark.usefixtures("able")
def test_balancer_that_sees_no_majority_refuses_stores_and_is_not_usable(host: Any, address: str) -> None:
    assert usable(host)
    command(host, "set server quorum/other health down")
    assert not usable(host)
    assert refusal(address, "MODALITY", "HAPACS") == CONGESTED


@pytest.mark.usefixtures("able")
def test_a_caller_with_many_associations_leaves_some_to_the_others(host: Any, address: str) -> None:
    with ExitStack() as connections:
        # One is kept for each caller, and three are for all. They come at once, so any of the five may be refused.
        five = [connections.enter_context(opened(address, "MODALITY")) for _ in range(5)]
        assert [answer(connection) for connection in five].count(REJECTED) == 1
        assert answer(connections.enter_context(opened(address, "CT 1"))) != REJECTED
    log = host.check_output("journalctl --unit haproxy --no-pager --output cat --lines 20")
    assert 'calling="MODALITY" called="HAPACS" refused=slots-kept-for-others' in log


@pytest.mark.usefixtures("able")
def test_a_caller_that_may_not_store_takes_no_storing_association(host: Any, address: str) -> None:
    eventually("no earlier one is left", lambda: "be=store_dicom" not in command(host, "show sess"), 15, 0.2)
    with ExitStack() as connections:
        for _ in range(4):
            connections.enter_context(opened(address, "VIEWER"))
        eventually("they are connected", lambda: command(host, "show sess").count("be=echo_dicom") == 4, 5, 0.1)
        assert "be=store_dicom" not in command(host, "show sess")
        assert refusal(address, "VIEWER", "HAPACS") == OVERLOADED


@pytest.mark.usefixtures("able")
def test_a_caller_that_sends_more_than_its_limit_is_warned_and_then_refused(host: Any, address: str) -> None:
    # Its limit is a megabyte in a minute. The count is set, because nobody is there who would take so much.
    key = "set table associations_of_callers key US1 data.bytes_in_rate"
    command(host, f"{key} 900000")
    with opened(address, "US1") as connection:
        assert answer(connection) != REJECTED
    command(host, f"{key} 1100000")
    assert refusal(address, "US1", "HAPACS") == OVERLOADED
    command(host, f"{key} 0")
    # An association is logged when it has ended: later for the one that was let in, and waited for a server.
    for said in ("refused=too-many-bytes", "refused=- warned=bytes"):
        eventually(f"the log has {said}", partial(is_logged, host, f'calling="US1" called="HAPACS" {said}'), 15)


def is_logged(host: Any, text: str) -> bool:
    """Whether the balancer's last lines have a text."""
    return text in host.check_output("journalctl --unit haproxy --no-pager --output cat --lines 200")


@pytest.mark.usefixtures("able")
@pytest.mark.parametrize(
    ("calling", "abstract_syntax", "backend"),
    [
        ("MODALITY", b"1.2.840.10008.1.20.1", "commitment_dicom"),
        # It ends in other digits, so it is another class.
        ("MODALITY", b"1.2.840.10008.1.20.1.1", "store_dicom"),
        ("VIEWER", b"1.2.840.10008.1.20.1", "echo_dicom"),
        ("ARCHIVE", b"1.2.840.10008.1.20.1", "commitment_dicom"),
        ("ARCHIVE", b"1.2.840.10008.1.1", "echo_dicom"),
    ],
)
def test_storing_callers_that_propose_storage_commitment_reach_the_service_for_it(
    host: Any, address: str, calling: str, abstract_syntax: bytes, backend: str
) -> None:
    eventually("no earlier one is left", lambda: "_dicom" not in command(host, "show sess"), 15, 0.2)
    # It comes last in a request of nearly the longest size.
    items = proposed(b"1.2.840.10008.5.1.4.1.1.2") * 2800 + proposed(abstract_syntax)
    with opened(address, calling, items):
        eventually("it is connected", lambda: f"be={backend}" in command(host, "show sess"), 5, 0.1)


@pytest.fixture
def stopped_service(host: Any, address: str, authorities: Path) -> Generator[None]:
    """Run the service that accepts associations and stops, at the address of the storing service."""
    signer = pki.Authority(authorities, "pacs", "passphrase-of-the-test")
    signer.issue(authorities / "absent", pki.Subject("absent", ("DNS:absent",)), timedelta(days=1), timedelta(hours=1))
    for suffix in (".crt", ".key"):
        content = (authorities / "absent").with_suffix(suffix).read_text(encoding="utf-8")
        host.check_output(f"umask 077; echo %s > /root/absent{suffix}", content)
    place = f"{address.rpartition('.')[0]}.250"
    host.check_output(f"ip address add {place}/32 dev lo")
    host.check_output("systemd-run --unit=stopped-service python3 -c %s", STOPPED_SERVICE)
    try:
        ready = "journalctl --unit stopped-service --output cat"
        eventually("it listens", lambda: "ready" in host.check_output(ready), 10, 0.2)
        yield
    finally:
        host.run("systemctl stop stopped-service")
        host.run(f"ip address del {place}/32 dev lo")


@pytest.mark.usefixtures("able", "stopped_service")
def test_associations_of_a_service_that_does_not_answer_are_cut(host: Any, address: str) -> None:
    with opened(address, "MODALITY") as connection:
        assert connection.recv(1) == b"\x02"
        command(host, "enable health store_dicom/absent")
        began = time.monotonic()
        assert connection.recv(1) == b""
        assert time.monotonic() - began < CUT_S
    line = "cut server=store_dicom/absent sessions=1 reason=no-answer"
    eventually("the log says why", lambda: line in log(host), 5, 0.2)


@pytest.mark.usefixtures("able", "stopped_service")
def test_associations_of_a_service_that_answers_with_an_error_go_on(host: Any, address: str) -> None:
    with opened(address, "MODALITY") as connection:
        assert connection.recv(1) == b"\x02"
        command(host, "set server store_dicom/absent health down")
        connection.settimeout(3)
        with pytest.raises(TimeoutError):
            connection.recv(1)


@pytest.mark.usefixtures("able", "stopped_service")
def test_storing_associations_are_cut_when_no_majority_is_in_sight(host: Any, address: str) -> None:
    with opened(address, "MODALITY") as connection:
        assert connection.recv(1) == b"\x02"
        command(host, "set server quorum/other health down")
        assert connection.recv(1) == b""
    assert "cut server=store_dicom/absent sessions=1 reason=no-majority" in log(host)


@pytest.mark.usefixtures("able")
def test_a_caller_that_waits_for_a_lost_machine_is_disconnected(host: Any, address: str) -> None:
    entity = AE(ae_title="MODALITY")
    entity.acse_timeout = entity.connection_timeout = 40
    entity.add_requested_context(Verification)
    began = time.monotonic()
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(entity.associate, address, 11112, ae_title="HAPACS")
        eventually("it is being connected", lambda: "be=store_dicom" in command(host, "show sess"), 5, 0.1)
        # The session is cut while it is being connected.
        command(host, "set server quorum/other health down")
        assert not asked.result(60).is_established
    assert time.monotonic() - began < 20


def log(host: Any) -> str:
    return str(host.check_output("journalctl --unit haproxy --no-pager --output cat --lines 30"))
