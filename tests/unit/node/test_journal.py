"""Events that are sent to journald in its protocol, and events that are found."""

import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hapacs_node import journal, log
from hapacs_node.errors import NodeError
from hapacs_node.journal import JournalHandler


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "socket"))
        server.settimeout(5)
        yield server


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[logging.Logger]:
    logger = logging.getLogger("hapacs-test.storage")
    handler = JournalHandler(tmp_path / "socket")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield logger
    logger.removeHandler(handler)
    handler.close()


def test_an_event_has_its_fields_its_level_and_its_line(journald: socket.socket, logger: logging.Logger) -> None:
    logger.info(log.line("stored", sop="1.2.3", caller="CT 1"))
    assert journald.recv(4096).decode().splitlines() == [
        "PRIORITY=6",
        'MESSAGE=hapacs-test.storage event=stored sop=1.2.3 caller="CT 1"',
        "SYSLOG_IDENTIFIER=hapacs-node",
        "HAPACS_EVENT=stored",
        "HAPACS_SOP=1.2.3",
        "HAPACS_CALLER=CT 1",
    ]
    logger.error(log.line("refused"))
    assert journald.recv(4096).startswith(b"PRIORITY=3\n")


def test_a_value_of_several_lines_stays_one_field(journald: socket.socket, logger: logging.Logger) -> None:
    logger.warning(log.line("refused", error="one\nPRIORITY=0"))
    sent = journald.recv(4096)
    assert b"HAPACS_ERROR\n" + (14).to_bytes(8, "little") + b"one\nPRIORITY=0\n" in sent
    assert sent.startswith(b'PRIORITY=4\nMESSAGE=hapacs-test.storage event=refused error="one PRIORITY=0"\n')


def test_events_go_to_standard_error_while_journald_is_down(
    logger: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    logger.info(log.line("stored", sop="1.2.3"))
    assert capfd.readouterr().err == "<6>hapacs-test.storage event=stored sop=1.2.3\n"


def program(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    file = directory / "journalctl"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")


def test_events_are_found_by_a_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {
        "__REALTIME_TIMESTAMP": "1795858200123456",
        "_SYSTEMD_UNIT": "orthanc-store.service",
        "MESSAGE": "hapacs.storage event=stored sop=1.2.3",
        "HAPACS_EVENT": "stored",
        "HAPACS_SOP": "1.2.3",
    }
    (tmp_path / "entries").write_text(f"{json.dumps(entry)}\n")
    program(tmp_path, monkeypatch, f'for last; do :; done; [ "$last" = HAPACS_SOP=1.2.3 ] && cat {tmp_path}/entries')
    assert journal.find("sop", "1.2.3") == [
        {"at": "2026-11-28T09:30:00.123+00:00", "unit": "orthanc-store", "event": "stored", "sop": "1.2.3"}
    ]


def test_a_journal_that_can_not_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, monkeypatch, "echo 'Failed to open' >&2; exit 1")
    with pytest.raises(NodeError, match="the journal can't be read: Failed to open"):
        journal.find("sop", "1.2.3")
