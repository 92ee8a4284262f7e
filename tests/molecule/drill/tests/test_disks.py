"""Faults of disks and files on a host: a service sees each, and everything is as before when it is undone."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from testinfra.host import Host  # type: ignore[import-untyped]

testinfra_hosts = ["ansible://hapacs-molecule-drill"]
PROGRAM = "/usr/local/lib/hapacs/hapacs-drill"
# A service with mounts of its own, as those of a node.
UNIT = "reader.service"
DISK = "/srv/drilled"
IMAGE = f"{DISK}/sha256/image"


def inject(host: Host, lease_s: int = 60, **fault: object) -> int:
    """Inject a fault, and return the exit code."""
    return int(host.run(f"{PROGRAM} inject {lease_s} '{json.dumps(fault)}'").rc)


def proof(host: Host) -> str:
    """Return the proof of the fault, or empty."""
    return str(json.loads(host.run(f"{PROGRAM} prove").stdout)["proof"])


def seen(host: Host, command: str) -> str:
    """Run a command as the service and with its mounts; return what it prints or why it fails."""
    pid = host.check_output(f"systemctl show --property=MainPID --value {UNIT}").strip()
    done = host.run(f"nsenter --target {pid} --mount setpriv --reuid=nobody --regid=nogroup --clear-groups {command}")
    return str(done.stdout + done.stderr).strip()


@pytest.fixture(autouse=True)
def service(host: Host) -> Iterator[None]:
    """A disk with an image, and a service that has it."""
    host.check_output(
        f"mkdir -p {DISK} && mount -t tmpfs -o size=8m disk {DISK} && mkdir {DISK}/sha256 && echo bytes > {IMAGE}"
        f" && chown -R nobody:nogroup {DISK} && chmod 440 {IMAGE}"
    )
    host.check_output(f"systemd-run --quiet --unit={UNIT} --property=PrivateMounts=yes sleep infinity")
    yield
    host.check_output(f"{PROGRAM} heal")
    assert seen(host, f"cat {IMAGE}") == "bytes"
    host.check_output(f"systemctl stop {UNIT} && umount {DISK}")


def test_lost_disk_leaves_an_empty_directory(host: Host) -> None:
    assert inject(host, kind="cover", directory=DISK, by="nothing") == 0
    assert "has no disk" in proof(host)
    # As in the mount point that the role das makes, only root writes here.
    assert "Permission denied" in seen(host, f"touch {DISK}/new")
    assert host.check_output(f"ls -A {DISK}") == ""
    assert host.check_output(f"stat --format=%d {DISK}") == host.check_output(f"stat --format=%d {DISK}/..")


def test_replaced_disk_is_empty_and_takes_files(host: Host) -> None:
    assert inject(host, kind="cover", directory=DISK, by="empty", size_mb=4) == 0
    assert "empty disk" in proof(host)
    assert seen(host, f"touch {DISK}/new") == ""
    assert host.file(f"{DISK}/new").exists


def test_service_that_starts_during_the_fault_sees_it_too(host: Host) -> None:
    assert inject(host, kind="cover", directory=DISK, by="empty", size_mb=4) == 0
    host.check_output(f"systemctl stop {UNIT}")
    host.check_output(f"systemd-run --quiet --unit={UNIT} --property=PrivateMounts=yes sleep infinity")
    assert "empty disk" in proof(host)
    assert "No such file" in seen(host, f"cat {IMAGE}")


def test_full_disk_refuses_a_file(host: Host) -> None:
    assert inject(host, kind="cover", directory=DISK, by="full") == 0
    assert "a new file was refused" in proof(host)
    assert "No space left" in seen(host, f"touch {DISK}/new")


def test_read_only_disk_refuses_writes_and_gives_what_it_has(host: Host) -> None:
    assert inject(host, kind="readonly", directory=DISK) == 0
    assert "Read-only" in proof(host)
    assert "Read-only" in seen(host, f"touch {DISK}/new")
    assert seen(host, f"cat {IMAGE}") == "bytes"


def test_files_refuse_to_be_read_by_their_owner(host: Host) -> None:
    assert inject(host, kind="unreadable", files=f"{DISK}/sha256/*") == 0
    assert proof(host).startswith("1 files")
    assert "Permission denied" in seen(host, f"cat {IMAGE}")
    assert seen(host, f"touch {DISK}/sha256/new") == ""


def test_lost_disk_is_back_after_the_lease(host: Host) -> None:
    assert inject(host, 3, kind="cover", directory=DISK, by="nothing") == 0
    host.check_output(f"timeout 30 sh -c 'until test -e {IMAGE}; do sleep 0.5; done'")
    assert not host.file("/var/lib/hapacs/drill.json").exists
