"""An online store on the one disk that a hardware RAID shows, at another place."""

from __future__ import annotations

from testinfra.host import Host  # type: ignore[import-untyped]

testinfra_hosts = ["ansible://hapacs-molecule-das-single"]
ROOT = "/srv/online"


def test_single_disk_duplicates_its_metadata(host: Host) -> None:
    mount = host.mount_point(ROOT)
    assert mount.exists
    assert {"noatime", "nodev", "nosuid", "noexec"} <= set(mount.options)
    usage = host.check_output(f"btrfs filesystem usage {ROOT}")
    assert "Data,single" in usage
    assert "Metadata,DUP" in usage
    assert not host.file("/srv/das").exists


def test_only_the_owner_can_write(host: Host) -> None:
    place = host.file(ROOT)
    assert (place.user, place.group, place.mode) == ("hapacs", "hapacs", 0o750)


def test_scrub_runs_at_the_configured_time(host: Host) -> None:
    assert "Sat *-*-* 22:00:00" in host.check_output("systemctl show --property=TimersCalendar --value das-scrub.timer")
    host.check_output("systemctl start das-scrub.service")
    assert "no errors found" in host.check_output(f"btrfs scrub status {ROOT}")


def test_unmounted_das_is_not_writable(host: Host) -> None:
    host.check_output("systemctl stop das.service")
    try:
        place = host.file(ROOT)
        assert (place.user, place.mode) == ("root", 0o700)
        assert host.run("runuser --user hapacs -- touch %s/image", ROOT).rc != 0
    finally:
        host.check_output("systemctl start das.service")
    assert host.mount_point(ROOT).exists
