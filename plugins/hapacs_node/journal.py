"""Writes log events to journald with their fields, and finds them by a field.

Orthanc's log contains only warnings and errors, so each stored image would be one of them. So events go to journald in
its native protocol (systemd's JOURNAL_NATIVE_PROTOCOL). Each event has its own level, and each field is indexed, so
``journalctl HAPACS_SOP=1.2.3`` is fast in a journal of any length.
"""

import json
import logging
import os
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hapacs_node.errors import NodeError
from hapacs_node.log import Event

SOCKET = Path("/run/systemd/journal/socket")
_PREFIX = "HAPACS_"
_LEVELS = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7
_READ_TIMEOUT_S = 60


class JournalHandler(logging.Handler):
    """Sends events to journald, or to standard error when journald does not accept them.

    Parameters
    ----------
    path : Path
        Journald's socket.
    """

    def __init__(self, path: Path = SOCKET) -> None:
        super().__init__()
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one event. It never raises, so that a failed log line fails no image."""
        priority = next((priority for level, priority in _LEVELS if record.levelno >= level), _DEBUG)
        text = f"{record.name} {record.getMessage()}"
        fields = {"PRIORITY": str(priority), "MESSAGE": text, "SYSLOG_IDENTIFIER": "hapacs-node"}
        if isinstance(record.msg, Event):
            fields[f"{_PREFIX}EVENT"] = record.msg.name
            fields |= {_PREFIX + name.upper(): value for name, value in record.msg.fields.items()}
        try:
            self._socket.sendto(b"".join(_encoded(name, value) for name, value in fields.items()), self._path)
        except OSError:
            # The prefix in front of the text is the level for the service manager (sd-daemon(3)).
            with suppress(OSError):
                os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"<{priority}>{text}\n".encode())

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()


def find(field: str, value: str) -> list[dict[str, str]]:
    """Find events of this node by one of their fields, the oldest first.

    Parameters
    ----------
    field : str
        The field's name, for example ``sop``.
    value : str
        Its value.

    Returns
    -------
    list of dict
        ``{"at", "unit", "event", ...}`` and the event's other fields; `at` is ISO 8601 in UTC.

    Raises
    ------
    NodeError
        When the journal can't be read.
    """
    command = ["journalctl", "--quiet", "--no-pager", "--output=json", "--all", f"{_PREFIX}{field.upper()}={value}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_READ_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NodeError(f"the journal can't be read: {error}") from error
    if done.returncode != 0:
        raise NodeError(f"the journal can't be read: {done.stderr.decode(errors='replace').strip()}")
    return [_entry(json.loads(entry)) for entry in done.stdout.splitlines()]


def _encoded(name: str, value: str) -> bytes:
    content = value.encode(errors="backslashreplace")
    if b"\n" in content:
        return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(content)), content)
    return b"%s=%s\n" % (name.encode(), content)


def _entry(fields: dict[str, Any]) -> dict[str, str]:
    at = datetime.fromtimestamp(int(fields["__REALTIME_TIMESTAMP"]) / 1e6, UTC).isoformat(timespec="milliseconds")
    found = {"at": at, "unit": str(fields.get("_SYSTEMD_UNIT", "")).removesuffix(".service")}
    ours = {name: value for name, value in fields.items() if name.startswith(_PREFIX)}
    return found | {name.removeprefix(_PREFIX).lower(): str(value) for name, value in sorted(ours.items())}
