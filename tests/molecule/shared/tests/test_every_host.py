"""What holds on every host, whatever roles ran there: secrets and services stay in their place."""

from __future__ import annotations

import re
from typing import Any

# Every secret of a scenario ends like this. As a pattern that does not match itself: sudo logs what is looked for.
SECRET = "[-]of-the-test"
# How much each of our services may reach, as systemd-analyze counts it (0 nothing, 10 everything): a change that opens
# one has to raise the figure here.
EXPOSURE = {}
_OURS = re.compile(r"^(?:/etc/systemd/system/)", re.MULTILINE)


def test_secrets_are_in_files_of_their_owners_only(host: Any) -> None:
    # Whoever owns it: nobody else may read it.
    everywhere = "find /etc /opt /run /srv /usr/local /var -xdev -type f -size -1M"
    look = "-exec grep --files-with-matches -- %s {} +"
    assert host.run(f"{everywhere} -perm -o=r {look}", SECRET).stdout == ""


def test_secrets_are_no_arguments_of_a_process(host: Any) -> None:
    lines = host.check_output("cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'").splitlines()
    assert "/sbin/init" in lines, "the processes can't be seen"
    assert not [line for line in lines if "-of-the-test" in line]


def test_secrets_are_in_no_log(host: Any) -> None:
    log = "journalctl --no-pager --output=cat"
    assert host.check_output(f"{log} --lines=1")
    assert host.run(f"{log} | grep --max-count=3 -e %s", SECRET).stdout == ""


def test_nothing_failed(host: Any) -> None:
    assert host.check_output("systemctl list-units --failed --plain --no-legend") == ""


def test_every_service_of_ours_is_kept_in_its_place(host: Any) -> None:
    running = host.check_output("systemctl list-units --type=service --state=running --plain --no-legend").splitlines()
    for unit in (line.split()[0] for line in running):
        shown = host.check_output("systemctl show --property=FragmentPath,DropInPaths --value %s", unit)
        if not _OURS.search(shown):
            continue
        said = host.check_output("systemd-analyze security --no-pager %s", unit)
        exposure = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)[1])
        assert unit in EXPOSURE, f"{unit} has an exposure of {exposure} and no limit here"
        assert exposure <= EXPOSURE[unit], f"{unit}:\n{said}"
