"""What holds for each of them, also for one that has nobody beside it."""

from __future__ import annotations

from typing import Any


def test_service_runs_and_is_enabled(host: Any) -> None:
    assert host.service("keepalived").is_running
    assert host.service("keepalived").is_enabled


def test_configuration_is_readable_by_root_only(host: Any) -> None:
    file = host.file("/etc/keepalived/keepalived.conf")
    assert (file.user, file.group, file.mode) == ("root", "root", 0o640)


def test_no_port_is_opened(listening: set[str]) -> None:
    assert {place.rpartition(":")[2] for place in listening} == {"22"}


def test_health_check_runs_as_an_unprivileged_user(host: Any) -> None:
    user = host.user("keepalived_script")
    assert (user.shell, user.home) == ("/usr/sbin/nologin", "/nonexistent")
    assert "script_user keepalived_script" in host.file("/etc/keepalived/keepalived.conf").content_string
