"""The module `balancer`, against a socket that answers as HAProxy does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.unit.ansible.loading import load

balancer = load("modules/balancer")

STATISTICS = """# pxname,svname,scur,status,sid
web,FRONTEND,3,OPEN,0
store_dicom,pacs1,2,{pacs1},1
store_dicom,pacs2,0,{pacs2},2
store_dicom,BACKEND,2,UP,0
query_dicom,pacs1,1,{pacs1},1
query_dicom,pacs2,0,{pacs2},2
query_web,pacs1,3,{pacs1},1
query_web,pacs2,0,{pacs2},2
retrieve_web,pacs1,0,{pacs1},1
retrieve_web,pacs2,{whole_studies},{pacs2},2
retrieve_web,BACKEND,0,UP,0
"""
# As HAProxy 3.0 writes it, of its 25 columns those that are read and their neighbours.
STATES = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight
4 store_dicom 1 pacs1 10.89.77.11 2 {pacs1} 1
4 store_dicom 2 pacs2 10.89.77.12 2 {pacs2} 1

"""


class Haproxy:
    """The socket of a HAProxy with two servers and the table that names the writer."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.status = {"pacs1": "UP", "pacs2": "UP"}
        self.admin = {"pacs1": 0, "pacs2": 0}
        self.entry: dict[str, str] | None = {"server_id": "1", "server_key": "pacs1"}
        self.whole_studies = 1
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self.path)
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.sendall(self._answer(connection.recv(1000).decode().strip()).encode())

    def close(self) -> None:
        self._socket.close()

    def _answer(self, command: str) -> str:
        if command == "show stat":
            return STATISTICS.format(**self.status, whole_studies=self.whole_studies)
        if command == "show servers state store_dicom":
            return STATES.format(**self.admin)
        if command.startswith("show table"):
            words = " ".join(f"{key}={value}" for key, value in (self.entry or {}).items())
            return (
                f"# table: store_dicom\n0x55: key=1 use=0 exp=0 {words}\n" if self.entry else "# table: store_dicom\n"
            )
        self.heard.append(command)
        if command.startswith("clear table"):
            self.entry = None
        elif command.startswith("set table"):
            # As HAProxy does it: the number can be set and the name can't.
            named = self.entry["server_key"] if self.entry else "-"
            self.entry = {"server_id": command.rsplit(maxsplit=1)[-1], "server_key": named}
        elif command.startswith("set server"):
            _, _, server, _, state = command.split()
            self.admin[server.split("/")[1]] = 8 if state == "drain" else 0
        return "\n"


@pytest.fixture
def haproxy(tmp_path: Path) -> Generator[Haproxy]:
    made = Haproxy(tmp_path / "admin.sock")
    yield made
    made.close()


def test_the_writer_is_read_by_name_or_number(haproxy: Haproxy) -> None:
    side = balancer.Balancer(haproxy.path)
    assert side.writer() == "pacs1"
    haproxy.entry = {"server_id": "2", "server_key": "-"}
    assert side.writer() == "pacs2"
    haproxy.entry = None
    assert side.writer() == ""


def test_the_writer_moves_although_the_table_keeps_the_former_name(haproxy: Haproxy) -> None:
    side = balancer.Balancer(haproxy.path)
    balancer.move(side, "pacs2", 5)
    assert side.writer() == "pacs2"
    assert haproxy.heard == ["clear table store_dicom key 1", "set table store_dicom key 1 data.server_id 2"]


def test_a_server_that_is_down_does_not_become_the_writer(haproxy: Haproxy) -> None:
    haproxy.status["pacs2"] = "DOWN"
    with pytest.raises(balancer.BalancerError, match="pacs2 is not up"):
        balancer.move(balancer.Balancer(haproxy.path), "pacs2", 5)
    assert haproxy.heard == []


def test_only_servers_in_another_state_are_switched(haproxy: Haproxy) -> None:
    side = balancer.Balancer(haproxy.path)
    assert balancer.switch(side, "store_dicom", ["pacs2"], "drain") == ["store_dicom/pacs2 drain"]
    haproxy.admin["pacs2"] = 8
    assert balancer.switch(side, "store_dicom", ["pacs2"], "drain") == []
    assert balancer.switch(side, "store_dicom", ["pacs1", "pacs2"], "ready") == ["store_dicom/pacs2 ready"]


def test_a_paused_server_that_is_down_is_resumed(haproxy: Haproxy) -> None:
    haproxy.status["pacs2"], haproxy.admin["pacs2"] = "DOWN", 8
    side = balancer.Balancer(haproxy.path)
    assert balancer.switch(side, "store_dicom", ["pacs2"], "ready") == ["store_dicom/pacs2 ready"]
    assert balancer.switch(side, "store_dicom", ["pacs2"], "drain") == []


def test_a_server_that_the_configuration_disables_counts_as_paused(haproxy: Haproxy) -> None:
    haproxy.admin["pacs2"] = 0x01 | 0x04
    side = balancer.Balancer(haproxy.path)
    assert balancer.switch(side, "store_dicom", ["pacs2"], "ready") == ["store_dicom/pacs2 ready"]
    haproxy.admin["pacs2"] = 0x04
    assert balancer.switch(side, "store_dicom", ["pacs2"], "ready") == []


def test_an_unknown_server_is_named(haproxy: Haproxy) -> None:
    with pytest.raises(balancer.BalancerError, match="no server pacs9; it has pacs1, pacs2"):
        balancer.switch(balancer.Balancer(haproxy.path), "store_dicom", ["pacs9"], "drain")


def test_web_requests_count_as_sessions(haproxy: Haproxy) -> None:
    side = balancer.Balancer(haproxy.path)
    assert balancer.states(side, "query") == {
        "pacs1": {"status": "UP", "sessions": 4},
        "pacs2": {"status": "UP", "sessions": 1},
    }
    assert balancer.states(side, "store")["pacs1"] == {"status": "UP", "sessions": 2}
    assert balancer.busy(side, ["store", "query"], ["pacs2"]) == ["query/pacs2"]
    haproxy.whole_studies = 0
    assert balancer.busy(side, ["store", "query"], ["pacs2"]) == []
