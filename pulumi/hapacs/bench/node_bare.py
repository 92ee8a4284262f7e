"""Starts and stops a bare Orthanc on a node for a benchmark; sent to the node and run as root by Debian's Python.

Takes a JSON object: ``action`` (``start`` or ``stop``), and for ``start`` the ``configuration`` of Orthanc, the
``directories`` to make, the ``ports`` to open, ``caller``, the only address that may connect to them, and
``https_port``, at which stunnel stands in front of its HTTP, or null.
Prints ``{}``.

The service is a transient unit of systemd with a time limit. When it ends, for any reason, its directories and firewall
rules are removed, also when the controller is no longer connected.
"""

import json
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

UNIT = "hapacs-bench-bare"
_LONGEST_S = 3600
_START_S = 30
_CHAIN = ("inet", "hapacs", "input")
_TLS_UNIT = f"{UNIT}-tls"
# As in front of the site's own Orthanc (role orthanc), without a client certificate, which no browser has.
_STUNNEL = """\
foreground = yes
syslog = no
debug = warning
libwrap = no
sslVersionMin = TLSv1.2
cert = /etc/orthanc-tls/node.crt
key = /etc/orthanc-tls/node.key
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
TIMEOUTclose = 0

[bare]
accept = {https_port}
connect = 127.0.0.1:{http_port}
"""


def start(
    configuration: dict[str, Any], directories: list[str], ports: list[int], caller: str, https_port: int | None
) -> None:
    """Start the service and wait until it answers."""
    for directory in directories:
        path = Path(directory)
        # After a loss of power the unit is gone, but the directories are still there.
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700, parents=True)
        shutil.chown(path, "orthanc", "orthanc")
    file = Path(directories[0]) / "orthanc.json"
    file.write_text(json.dumps(configuration), encoding="utf-8")
    shutil.chown(file, "orthanc", "orthanc")
    # No dollar sign: systemd would expand it.
    clean = (
        f"nft -a list chain {' '.join(_CHAIN)} | sed -n 's/.*{UNIT}.*# handle //p'"
        f" | xargs -r -n 1 nft delete rule {' '.join(_CHAIN)} handle; rm -rf {shlex.join(directories)}"
    )
    properties = {
        "User": "orthanc",
        "Group": "orthanc",
        "Type": "exec",
        "RuntimeMaxSec": str(_LONGEST_S),
        "LimitNOFILE": "16384",
        "ExecStopPost": f'+/bin/sh -c "{clean}"',
    }
    words = [f"--property={name}={value}" for name, value in properties.items()]
    run("systemd-run", "--quiet", "--collect", f"--unit={UNIT}", *words, "/usr/sbin/Orthanc", str(file))
    for port in ports:
        rule = ["ip", "saddr", caller, "tcp", "dport", str(port), "accept", "comment", f'"{UNIT}"']
        run("nft", "insert", "rule", *_CHAIN, *rule)
    deadline = time.monotonic() + _START_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{configuration['HttpPort']}/system", timeout=5):
                break
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"the bare Orthanc doesn't answer within {_START_S} s: {error}") from error
            time.sleep(0.2)
    if https_port is not None:
        start_tls(Path(directories[0]) / "stunnel.conf", int(configuration["HttpPort"]), https_port)


def start_tls(file: Path, http_port: int, https_port: int) -> None:
    """Start stunnel in front of Orthanc, which ends with it, and wait until it accepts connections."""
    file.write_text(_STUNNEL.format(http_port=http_port, https_port=https_port), encoding="utf-8")
    shutil.chown(file, "orthanc", "orthanc")
    words = [f"--property={one}" for one in ("User=orthanc", "Group=orthanc", "Type=exec", f"BindsTo={UNIT}.service")]
    run("systemd-run", "--quiet", "--collect", f"--unit={_TLS_UNIT}", *words, "/usr/bin/stunnel4", str(file))
    deadline = time.monotonic() + _START_S
    while True:
        try:
            with socket.create_connection(("127.0.0.1", https_port), timeout=5):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise SystemExit(
                    f"TLS in front of the bare Orthanc doesn't answer within {_START_S} s: {error}"
                ) from error
            time.sleep(0.2)


def stop() -> None:
    """Stop the service if it runs, and wait until its files and rules are removed."""
    subprocess.run(["systemctl", "stop", _TLS_UNIT, UNIT], check=False, capture_output=True)


def run(*words: str) -> None:
    """Run a command; exit with its error output when it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{words[0]}: {done.stderr.strip()}")


def main() -> None:
    """Start or stop, as the argument says."""
    arguments = json.loads(sys.argv[1])
    action = arguments.pop("action")
    stop()
    if action == "start":
        try:
            start(**arguments)
        except BaseException:
            stop()
            raise
    print("{}")  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
