"""An Orthanc whose threads all wait for Python's lock is killed, and starts again."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from hapacs.load.waiting import eventually
from tests.molecule.node.tests.test_orthanc import process_of, tls, url, web

__all__ = ["tls", "web"]
UNIT = "orthanc-query"
PATIENCE_S, START_S = 6, 60
PLACE = "/run/hapacs-hang"
DROP_IN = f"/run/systemd/system/{UNIT}.service.d"
# Python runs this module at its start. PyDLL keeps Python's lock while the foreign function runs. Only the process
# with the number in the file hangs, not the next one.
HANGS_WHEN_TOLD = f"""
import ctypes, os, pathlib, threading, time

def wait():
    told = pathlib.Path("{PLACE}/process")
    while not told.exists() or told.read_text().strip() != str(os.getpid()):
        time.sleep(0.2)
    ctypes.PyDLL(None).sleep(3600)

threading.Thread(target=wait, daemon=True).start()
"""


def healthy(web: httpx.Client, address: str) -> bool:
    try:
        return web.get(url(address, "query", "/hapacs/health")).is_success
    except httpx.HTTPError:
        return False


def restart(host: Any, web: httpx.Client, address: str) -> None:
    host.check_output(f"systemctl daemon-reload && systemctl restart {UNIT}")
    eventually("the service is healthy", lambda: healthy(web, address), START_S, 0.5)


@pytest.fixture
def prepared(host: Any, web: httpx.Client, address: str) -> Iterator[None]:
    """Let the service wait for the word to hang, and systemd wait for seconds only."""
    environment = host.check_output(f"systemctl show --property Environment --value {UNIT}").split()
    (path,) = (entry.removeprefix("PYTHONPATH=") for entry in environment if entry.startswith("PYTHONPATH="))
    lines = ["[Service]", f"WatchdogSec={PATIENCE_S}", f"Environment=PYTHONPATH={PLACE}:{path}"]
    try:
        host.check_output(f"mkdir -p {PLACE} {DROP_IN}")
        host.check_output(f"printf %s {shlex.quote(HANGS_WHEN_TOLD)} >{PLACE}/sitecustomize.py")
        host.check_output(f"printf '%s\\n' {shlex.join(lines)} >{DROP_IN}/hang.conf")
        restart(host, web, address)
        yield
    finally:
        host.check_output(f"rm -rf {PLACE} {DROP_IN}")
        restart(host, web, address)


@pytest.mark.usefixtures("prepared")
def test_a_hanging_process_is_killed_and_a_working_one_is_not(host: Any, web: httpx.Client, address: str) -> None:
    process = process_of(host, UNIT)
    time.sleep(3 * PATIENCE_S)
    assert process_of(host, UNIT) == process
    host.check_output(f"echo {process} >{PLACE}/process")
    main = f"systemctl show --property MainPID --value {UNIT}"
    eventually("another process runs", lambda: host.check_output(main) not in {"0", str(process)}, START_S, 0.5)
    eventually("it is healthy", lambda: healthy(web, address), START_S, 0.5)
    assert "Watchdog timeout" in host.check_output(f"journalctl --unit={UNIT} --since=-300s --output=cat")


def test_each_orthanc_is_watched_longer_than_a_pause_that_is_healed(host: Any) -> None:
    for unit in ("orthanc-store", "orthanc-query"):
        assert host.check_output(f"systemctl show --property WatchdogUSec --value {unit}") == "2min"
