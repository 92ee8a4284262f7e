"""What holds for each of them, also for one that has nobody beside it."""

from __future__ import annotations

from typing import Any


def test_it_runs_and_starts_with_the_machine(host: Any) -> None:
    assert host.service("keepalived").is_running
    assert host.service("keepalived").is_enabled


def test_its_configuration_is_for_root_only(host: Any) -> None:
    file = host.file("/etc/keepalived/keepalived.conf")
    assert (file.user, file.group, file.mode) == ("root", "root", 0o640)


def test_it_opens_no_port(listening: set[str]) -> None:
    assert {place.rpartition(":")[2] for place in listening} == {"22"}


def test_its_check_runs_as_a_user_that_may_do_nothing_else(host: Any) -> None:
    user = host.user("keepalived_script")
    assert (user.shell, user.home) == ("/usr/sbin/nologin", "/nonexistent")
    assert "script_user keepalived_script" in host.file("/etc/keepalived/keepalived.conf").content_string
