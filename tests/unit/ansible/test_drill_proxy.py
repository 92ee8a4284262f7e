"""The rules that lead clients to the drill's proxy, in a network namespace of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.ansible.loading import ANSIBLE, load_script

FAULT = {"address": "192.0.2.1", "port": 5432, "clients": ["192.0.2.1", "192.0.2.12"]}
# Prints which of service and proxy answers a client, the proxy itself, and a client of another address.
PROGRAM = """
import json, socket, subprocess, sys
sys.path.insert(0, sys.argv[1])
import drill_proxy
for words in ("link set lo up", "address add 192.0.2.1/32 dev lo", "address add 192.0.2.99/32 dev lo"):
    subprocess.run(["ip", *words.split()], check=True)
fault = json.loads(sys.argv[2])
ports = {5432: "service", drill_proxy.PORT: "proxy"}
listening = {socket.create_server((fault["address"], port)): name for port, name in ports.items()}
drill_proxy.run("nft", "--file", "-", text=drill_proxy.Proxy(fault)._rules())

def reached(source, mark=0):
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        client.settimeout(10)
        client.bind((source, 0))
        client.connect((fault["address"], fault["port"]))
        for server, name in listening.items():
            server.setblocking(False)
            try:
                server.accept()[0].close()
            except BlockingIOError:
                continue
            return name

print(reached("192.0.2.1"), reached("192.0.2.1", drill_proxy.MARK), reached("192.0.2.99"))
drill_proxy.run("nft", "delete", "table", "inet", drill_proxy.TABLE)
print(reached("192.0.2.1"))
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nftables")
def test_only_the_named_clients_reach_the_proxy_and_only_while_there_are_rules() -> None:
    words = [sys.executable, "-c", PROGRAM, str(ANSIBLE / "roles" / "drill" / "files"), json.dumps(FAULT)]
    done = subprocess.run(["unshare", "--net", *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == ["proxy service service", "service"], done.stderr


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module; its commands are noted in `commands`, and each answers with a line."""
    module = load_script("drill/files/drill_proxy.py")
    commands: list[tuple[str, ...]] = []

    def run(*words: str, text: str | None = None) -> str:
        commands.append((*words, text or ""))
        return "table inet hapacs\n"

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "NOTES", tmp_path / "notes.json")
    module.commands = commands  # type: ignore[attr-defined]
    return module


def test_proxy_listens_before_clients_are_led_to_it_and_open_connections_end_last(proxy: ModuleType) -> None:
    fault = proxy.Proxy(FAULT)
    plan = fault.plan()
    assert plan == {"firewall": True}
    proxy.commands.clear()
    fault.apply(plan)
    started, listens, firewall, rules, ended = proxy.commands
    assert (started[0], listens[0], firewall[:3]) == ("systemd-run", "ss", ("nft", "insert", "rule"))
    assert "dnat ip to 192.0.2.1:19999" in rules[-1]
    assert ended[:2] == ("ss", "--kill")
    assert "src 192.0.2.1:5432 and ( dst 192.0.2.1 or dst 192.0.2.12 )" in ended


def test_service_that_is_not_here_is_refused(proxy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "run", lambda *_: "")
    with pytest.raises(proxy.RefusedError, match=r"nothing listens at 192\.0\.2\.1:5432"):
        proxy.Proxy(FAULT).plan()


def test_proxy_that_did_nothing_has_no_proof() -> None:
    answers, gateway = (load_script(f"drill/files/drill_{name}.py") for name in ("answers", "gateway"))
    assert answers.Answers(FAULT).said({"lost": 1, "rows": 0}) == ""
    assert "rows of those transactions that PostgreSQL has: 2" in answers.Answers(FAULT).said({"lost": 1, "rows": 2})
    assert gateway.Denials(FAULT).said({"denied": 0}) == ""
    assert "for 2 requests" in gateway.Denials(FAULT).said({"denied": 2})
