"""SSH to nodes: keys made on the controller, host keys pinned before first contact."""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hapacs.errors import HapacsError

USER = "hapacs"


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Lock a file that the providers of several nodes may change concurrently."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_key(path: Path, comment: str) -> str:
    """Make an Ed25519 key pair unless it is there, and return the public half."""
    public = path.with_name(f"{path.name}.pub")
    with _locked(path):
        if not (path.exists() and public.exists()):
            # Made beside and renamed: an interrupted run leaves no incomplete key pair.
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as temporary:
                made = Path(temporary) / "key"
                command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(made)]
                subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
                made.with_name("key.pub").replace(public)
                made.replace(path)
        return public.read_text(encoding="utf-8").strip()


@contextmanager
def _edit(known_hosts: Path) -> Iterator[list[str]]:
    """Change the lines of ``known_hosts``."""
    with _locked(known_hosts):
        lines = known_hosts.read_text(encoding="utf-8").splitlines() if known_hosts.exists() else []
        before = list(lines)
        yield lines
        if lines != before:
            new = known_hosts.with_name(".known_hosts.new")
            new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            new.replace(known_hosts)


def pin(known_hosts: Path, address: str, public_key: str) -> None:
    """Make ``public_key`` the only host key that is accepted from ``address``."""
    entry = f"{address} {' '.join(public_key.split()[:2])}"
    with _edit(known_hosts) as lines:
        if entry not in lines:
            lines[:] = [line for line in lines if line.split()[0] != address]
            lines.append(entry)


def unpin(known_hosts: Path, address: str) -> None:
    """Remove the host keys of ``address``."""
    if known_hosts.exists():
        with _edit(known_hosts) as lines:
            lines[:] = [line for line in lines if line.split()[0] != address]


def command(address: str, key: Path, known_hosts: Path, *words: str, user: str = USER, port: int = 22) -> list[str]:
    """Return the command line that runs ``words`` on a node."""
    options = {
        "BatchMode": "yes",
        "Port": str(port),
        "ConnectTimeout": "3",
        "IdentitiesOnly": "yes",
        "IdentityFile": str(key),
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(known_hosts),
        "GlobalKnownHostsFile": "none",
    }
    return ["ssh", "-F", "none", *(f"-o{name}={value}" for name, value in options.items()), f"{user}@{address}", *words]


def wait(address: str, key: Path, known_hosts: Path, timeout_s: float = 90) -> None:
    """Return when the node answers by SSH.

    Raises
    ------
    HapacsError
        If it does not within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        done = subprocess.run(
            command(address, key, known_hosts, "true"),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode == 0:
            return
        if time.monotonic() > deadline:
            raise HapacsError(
                f"{address} does not answer by SSH within {timeout_s:.0f} s: {done.stderr.strip()}",
                "`hapacs up` again tries once more; the container's own messages: `podman logs`.",
            )
        time.sleep(0.3)
