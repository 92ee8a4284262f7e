"""Scrub and reconcile on a host: the timers' programs run in their sandbox, and leave results, metrics and events."""

from __future__ import annotations

import json
from typing import Any

import pytest

METRICS = "curl --silent --fail http://127.0.0.1:9330/metrics"
CHECKS = ("scrub", "reconcile", "manifest")


@pytest.mark.parametrize("check", CHECKS)
def test_the_timer_has_a_next_time(host: Any, check: str) -> None:
    timer = host.service(f"hapacs-{check}.timer")
    assert timer.is_running
    assert timer.is_enabled
    shown = host.check_output(f"systemctl show --property NextElapseUSecRealtime --value hapacs-{check}.timer")
    assert shown.strip() not in {"", "n/a", "infinity"}


@pytest.mark.parametrize("check", CHECKS)
def test_a_run_leaves_its_result_metrics_and_event(host: Any, check: str) -> None:
    host.check_output(f"systemctl start hapacs-{check}.service")
    file = f"/var/lib/hapacs/integrity/{check}.json"
    result = json.loads(host.check_output(f"cat {file}"))
    assert result["failure"] is None
    assert host.file(file).user == "orthanc"
    assert f'hapacs_integrity_failed{{check="{check}"}} 0.0' in host.check_output(METRICS)
    events = host.check_output("journalctl --output=cat HAPACS_EVENT=check_ended")
    assert f"event=check_ended check={check} open={result['open']}" in events


def test_the_scrub_reads_shelves_of_the_archive_and_of_this_nodes_das(host: Any) -> None:
    host.check_output("systemctl start hapacs-scrub.service")
    result = json.loads(host.check_output("cat /var/lib/hapacs/integrity/scrub.json"))
    node = json.loads(host.file("/etc/hapacs/node.json").content_string)["node"]
    checked = {place["place"]: place["checked"] for place in result["places"]}
    assert set(checked) == {"archive", f"das {node}"}
    assert min(checked.values()) > 0


def test_an_operator_may_replace_the_result_of_the_timer_and_the_other_way_round(host: Any) -> None:
    host.run("/opt/hapacs/venv/bin/hapacs-node scrub --budget 0")
    assert host.file("/var/lib/hapacs/integrity/scrub.json").user == "root"
    host.check_output("systemctl start hapacs-scrub.service")
    assert host.file("/var/lib/hapacs/integrity/scrub.json").user == "orthanc"


def test_only_root_can_change_the_mark_of_a_drained_node(host: Any) -> None:
    directory = host.file("/var/lib/hapacs")
    assert (directory.user, directory.mode) == ("root", 0o755)
