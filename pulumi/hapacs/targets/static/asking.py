"""Asks machines for their facts by SSH, all at the same time."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from hapacs import ssh
from hapacs.targets.static import machine_facts
from hapacs.targets.static.judge import Answer, Machine, Wanted

_TIMEOUT_S = 60
_AT_ONCE = 16
_SSH_FAILED = 255


@dataclass(frozen=True)
class Access:
    """Access to machines: the deployment's user, port, key and pinned host keys."""

    user: str
    port: int
    key: Path
    known_hosts: Path

    def known_as(self, address: str) -> str:
        """Return how `known_hosts` names a machine (sshd(8))."""
        return address if self.port == 22 else f"[{address}]:{self.port}"  # noqa: PLR2004


def ask_all(machines: Sequence[Wanted], access: Access) -> Mapping[Wanted, Answer]:
    """Ask every machine, and return the answers in the machines' order."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return dict(zip(machines, pool.map(lambda wanted: ask(wanted, access), machines), strict=True))


def ask(wanted: Wanted, access: Access) -> Answer:
    """Ask one machine; an answer without a machine says what to change so that it can be asked."""
    words = ["sudo", "--non-interactive", "python3", "-", f"'{json.dumps(wanted.devices)}'"]
    command = ssh.command(
        wanted.reached_at, access.key, access.known_hosts, *words, user=access.user, port=access.port
    )  # fmt: skip
    script = Path(machine_facts.__file__).read_text(encoding="utf-8")
    asked_at = time.time()
    try:
        done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return Answer(refusal=f"does not answer within {_TIMEOUT_S} s; look whether its disks hang")
    answered_at = time.time()
    if done.returncode:
        return Answer(refusal=why(done.returncode, done.stderr, wanted, access))
    try:
        machine = Machine.model_validate_json(done.stdout)
    except ValidationError as error:
        first = error.errors()[0]
        return Answer(refusal=f"gave an answer that can't be read: {first['loc']}: {first['msg']}")
    return Answer(machine, asked_at=asked_at, answered_at=answered_at)


def why(code: int, said: str, wanted: Wanted, access: Access) -> str:
    """Return why a machine could not be asked, and what to change.

    Parameters
    ----------
    code, said
        Exit code of ``ssh`` and what it printed to standard error.
    """
    address = wanted.reached_at
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("Warning:")]
    last = lines[-1] if lines else f"exit code {code}"
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
        return (
            f"its host key is another than the one in {access.known_hosts}: another machine answers, or it was "
            f"installed again. Compare the fingerprint at its console, then `ssh-keygen -f {access.known_hosts} "
            f"-R {access.known_as(address)}` and add the new key"
        )
    if "host key is known" in said or "Host key verification failed" in said:
        return (
            f"its host key is not known. Compare what `ssh-keyscan -t ed25519 -p {access.port} {address}` prints with "
            f"/etc/ssh/ssh_host_ed25519_key.pub there, then add the line to {access.known_hosts}"
        )
    if code == _SSH_FAILED:
        return _no_connection(said, last, wanted, access)
    if "python3" in last and "not found" in last:
        return f"has no Python ({last}): `apt install python3`"
    if "sudo" in last:
        return (
            f"{access.user} may not become root without a password ({last}); install sudo and write "
            f"`{access.user} ALL=(ALL) NOPASSWD: ALL` into /etc/sudoers.d/hapacs"
        )
    return f"can't report its facts: {last}"


def _no_connection(said: str, last: str, wanted: Wanted, access: Access) -> str:
    if "Permission denied" in said:
        return (
            f"does not let in {access.user}@{wanted.reached_at}: add {access.key}.pub to that user's "
            "~/.ssh/authorized_keys"
        )
    return (
        f"can't be reached by SSH at {wanted.reached_at} port {access.port} ({last}); is it on, is the address right "
        f"({wanted.path}), does a firewall between let this machine in?"
    )
