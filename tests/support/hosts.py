"""Looking into hosts over SSH, with testinfra."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import testinfra  # type: ignore[import-untyped]
from testinfra.host import Host  # type: ignore[import-untyped]

from hapacs.deployment import Deployment


def connect(address: str, key: Path, known_hosts: Path, user: str = "hapacs") -> Host:
    """Return a host that is looked into as root, with its host key checked."""
    options = (
        f"-F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile={known_hosts} "
        "-o GlobalKnownHostsFile=none -o ConnectTimeout=5 -o IdentitiesOnly=yes"
    )
    return testinfra.get_host(f"ssh://{user}@{address}", sudo=True, ssh_identity_file=str(key), ssh_extra_args=options)


def node(deployment: Deployment, address: str) -> Host:
    """Return a node of a deployment that is up."""
    return connect(address, deployment.ssh_key, deployment.known_hosts)


def eventually[T](what: str, look: Callable[[], T], deadline_s: float, every_s: float = 1) -> T:
    """Return what `look` returns as soon as it is true.

    Raises
    ------
    AssertionError
        When it is not within the deadline, with what was seen last.
    """
    begun = time.monotonic()
    seen: Any = None
    while time.monotonic() - begun < deadline_s:
        try:
            if seen := look():
                return seen
        except (OSError, RuntimeError) as error:
            seen = error
        time.sleep(every_s)
    raise AssertionError(f"{what}: not within {deadline_s:.0f} s; last seen: {seen!r}")
