"""The DAS after the role ran: mirrored, remounted, repaired, and never overwritten."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from testinfra.host import Host  # type: ignore[import-untyped]

testinfra_hosts = ["ansible://hapacs-molecule-das"]
ROOT = "/srv/das"
BIT_ROT_BYTES = 64 << 20


@pytest.fixture
def devices(host: Host) -> list[str]:
    known = json.loads((Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "devices.json").read_text(encoding="utf-8"))
    found: list[str] = known[host.backend.get_hostname()]
    return found


def test_disks_form_a_mirror(host: Host, devices: list[str]) -> None:
    mount = host.mount_point(ROOT)
    assert mount.exists
    assert mount.filesystem == "btrfs"
    assert {"noatime", "nodev", "nosuid", "noexec"} <= set(mount.options)
    usage = host.check_output(f"btrfs filesystem usage {ROOT}")
    assert "Data,RAID1" in usage
    assert "Metadata,RAID1" in usage
    shown = host.check_output(f"btrfs filesystem show {ROOT}")
    assert all(device in shown for device in devices)


def test_only_the_owner_can_write(host: Host) -> None:
    place = host.file(ROOT)
    assert (place.user, place.group, place.mode) == ("hapacs", "hapacs", 0o750)


def test_scrub_timer_is_active(host: Host) -> None:
    assert host.service("das-scrub.timer").is_running
    assert host.service("das-scrub.timer").is_enabled
    host.check_output("systemctl start das-scrub.service")
    assert "no errors found" in host.check_output(f"btrfs scrub status {ROOT}")


def test_corrupt_blocks_are_repaired_from_the_mirror(host: Host, devices: list[str]) -> None:
    host.check_output(f"dd if=/dev/urandom of={ROOT}/object bs=1M count=64 status=none && sync")
    digest = host.check_output(f"sha256sum {ROOT}/object").split()[0]
    # The middle of the disk, away from the superblocks: data of one of the two copies.
    host.check_output(f"dd if=/dev/zero of={devices[1]} bs=1M seek=100 count=200 conv=notrunc,fsync status=none")
    host.check_output("systemctl restart das.service")
    scrub = host.run("systemctl start das-scrub.service")
    status = host.check_output(f"btrfs scrub status {ROOT}")
    assert "no errors found" not in status, "the damage was not where data is"
    assert "Uncorrectable:  0" in status, (scrub.rc, status)
    assert host.check_output(f"sha256sum {ROOT}/object").split()[0] == digest
    host.check_output(f"rm {ROOT}/object")


def test_mirror_mounts_with_one_disk_missing(host: Host, devices: list[str]) -> None:
    # The mount script skips a disk that does not carry the store's name.
    script = host.file("/usr/local/lib/hapacs/das-mount").content_string
    host.check_output("systemctl stop das.service")
    assert not host.mount_point(ROOT).exists
    host.check_output(f"mv {devices[0]} {devices[0]}.away")
    try:
        host.check_output(f"btrfs device scan --forget {devices[1]} || true; systemctl start das.service")
        assert host.mount_point(ROOT).exists
        assert devices[0] in script
    finally:
        host.check_output("systemctl stop das.service")
        host.check_output(f"mv {devices[0]}.away {devices[0]}")
        host.check_output("systemctl start das.service")
    assert host.mount_point(ROOT).exists
