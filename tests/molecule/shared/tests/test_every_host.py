"""What holds on every host, whatever roles ran there: secrets stay in their place."""

from __future__ import annotations

from typing import Any

# Every secret of a scenario ends like this. As a pattern that does not match itself: sudo logs what is looked for.
SECRET = "[-]of-the-test"


def test_secret_files_are_readable_by_their_owner_only(host: Any) -> None:
    # No user but the owner may read it.
    everywhere = "find /etc /opt /run /srv /usr/local /var -xdev -type f -size -1M"
    look = "-exec grep --files-with-matches -- %s {} +"
    assert host.run(f"{everywhere} -perm -o=r {look}", SECRET).stdout == ""


def test_no_process_argument_contains_a_secret(host: Any) -> None:
    lines = host.check_output("cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'").splitlines()
    assert "/sbin/init" in lines, "the processes can't be seen"
    assert not [line for line in lines if "-of-the-test" in line]


def test_no_log_contains_a_secret(host: Any) -> None:
    log = "journalctl --no-pager --output=cat"
    assert host.check_output(f"{log} --lines=1")
    assert host.run(f"{log} | grep --max-count=3 -e %s", SECRET).stdout == ""


def test_no_unit_failed(host: Any) -> None:
    assert host.check_output("systemctl list-units --failed --plain --no-legend") == ""
