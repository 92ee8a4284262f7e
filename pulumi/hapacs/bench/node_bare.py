"""Starts and stops a bare Orthanc on a node for a benchmark; sent to the node and run as root by Debian's Python.

Takes a JSON object: ``action`` (``start`` or ``stop``), and for ``start`` the ``configuration`` of Orthanc, the
``directories`` to make, the ``ports`` to open, and ``caller``, the only address that may connect to them.
Prints ``{}``.

The service is a transient unit of systemd with a time limit. When it ends, for any reason, its directories and firewall
rules are removed, also when the controller is no longer connected.
"""

import json
import shlex
import shutil
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


def start(configuration: dict[str, Any], directories: list[str], ports: list[int], caller: str) -> None:
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
                return
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"the bare Orthanc doesn't answer within {_START_S} s: {error}") from error
            time.sleep(0.2)


def stop() -> None:
    """Stop the service if it runs, and wait until its files and rules are removed."""
    subprocess.run(["systemctl", "stop", UNIT], check=False, capture_output=True)


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
