"""What operations and drills silence: alerts that exist, by labels that they have, and hardly a page."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from hapacs.deployment import PROJECT
from hapacs.drills import table
from hapacs.drills.model import InARow, OtherSite, PowerOff, Restart, Switchover
from hapacs.rotation import KINDS
from hapacs.silences import causes
from hapacs.silences.causes import Cause

ADDRESSES = {"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.3"}
MEMBERS = {group: list(ADDRESSES) for group in ("etcd", "postgres", "cas", "pacs", "load_balancer", "monitoring")}
RULES = [
    rule
    for file in sorted((PROJECT / "monitoring" / "rules").glob("*.yml"))
    for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in RULES if "alert" in rule}
PAGES = {name for name, rule in ALERTS.items() if rule["labels"]["severity"] == "page"}
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}

OPERATIONS = {
    "drain": causes.of_nodes({"a": "192.0.2.1"}, MEMBERS, off=True),
    "restart all": causes.of_restart("all"),
    **{f"restart {unit}": causes.of_restart(unit) for unit in ("etcd", "patroni", "seaweedfs-s3", "orthanc-store")},
    **{f"rotate {kind}": causes.of_rotation(kind) for kind in KINDS},
    **{f"switchover {what}": causes.of_switchover(what) for what in ("database", "storing", "address")},
    "renew": causes.of_all_services(),
}
DRILLS = {drill.name: causes.of_drill(drill, ["a"], ADDRESSES, MEMBERS) for drill in table.DRILLS}


@pytest.mark.parametrize("found", [*OPERATIONS.values(), *DRILLS.values()], ids=[*OPERATIONS, *DRILLS])
def test_silenced_alerts_exist(found: list[Cause]) -> None:
    assert causes.alerts(found) <= set(ALERTS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_operation_silences_a_page(name: str) -> None:
    # Whoever drains a node may switch it off.
    allowed = {"NodeDown"} if name == "drain" else set()
    assert causes.alerts(OPERATIONS[name]) & PAGES == allowed


@pytest.mark.parametrize("drill", table.DRILLS, ids=lambda drill: drill.name)
def test_drill_silences_pages_of_the_site_only_when_every_store_must_be_refused(drill: Any) -> None:
    of_site = {alert for cause in DRILLS[drill.name] if not cause.label for alert in cause.alerts}
    assert bool(of_site & PAGES) == drill.refuses


@pytest.mark.parametrize("drill", table.DRILLS, ids=lambda drill: drill.name)
def test_drill_silences_what_is_about_the_nodes_that_it_hits(drill: Any) -> None:
    planned = isinstance(drill.fault, Switchover | Restart | OtherSite)
    down = [cause for cause in DRILLS[drill.name] if "NodeDown" in cause.alerts]
    assert [cause.matchers()["node"] for cause in down] == ([] if planned else ["a"])
    others = any("b" in cause.values for cause in DRILLS[drill.name])
    assert others == isinstance(drill.fault, InARow), "which node a second fault hits is not known before"


def test_second_fault_may_hit_any_node_and_takes_none_off() -> None:
    (drill,) = [one for one in table.DRILLS if isinstance(one.fault, InARow)]
    assert isinstance(drill.fault, InARow)
    assert isinstance(drill.fault.first, PowerOff)
    units = [cause for cause in DRILLS[drill.name] if "UnitInactive" in cause.alerts]
    assert sorted(value for cause in units for value in cause.values) == ["a", "b", "c"]


def test_drain_silences_what_other_nodes_say_of_the_node() -> None:
    found = {cause.label: cause.values for cause in OPERATIONS["drain"]}
    assert found["node"] == found["target"] == found["member"] == ("a",)
    (gateway,) = found["gateway"]
    (cause,) = [one for one in OPERATIONS["drain"] if one.label == "gateway"]
    assert re.fullmatch(cause.matchers()["gateway"], f"{gateway}/")
    assert not re.fullmatch(cause.matchers()["gateway"], "https://192.0.2.10:8333")


def test_alertmanagers_are_alone_only_when_one_of_them_stops() -> None:
    of_third = causes.of_nodes({"c": "192.0.2.3"}, MEMBERS, off=True)
    assert "AlertmanagerAlone" in causes.alerts(OPERATIONS["drain"])
    assert "AlertmanagerAlone" not in causes.alerts(of_third), "the third node of the group runs none"


def test_restart_of_one_service_silences_nothing_of_another() -> None:
    labelled = {cause.label: set(cause.values) for cause in OPERATIONS["restart etcd"] if cause.label}
    assert labelled == {"unit": {"etcd"}, "service": {"etcd"}, "job": {"etcd"}}
    assert "ArchiveWithoutLeader" not in causes.alerts(OPERATIONS["restart etcd"])


def test_labels_are_those_of_the_alerts() -> None:
    kept = json.loads((PROJECT / "monitoring" / "scrapes" / "metrics.json").read_text(encoding="utf-8"))
    added = {"node", "job"}
    for cause in {one for found in (*OPERATIONS.values(), *DRILLS.values()) for one in found if one.label}:
        for alert in cause.alerts:
            asked = {name for name in kept if re.search(rf"\b{name}\b", ALERTS[alert]["expr"])}
            asked |= {"node_filesystem_size_bytes"} if "node:filesystem_free:ratio" in ALERTS[alert]["expr"] else set()
            labels = {label for name in asked for label in kept[name]["labels"]}
            assert cause.label in labels | added, f"{alert} has no label {cause.label}"


def test_time_for_which_an_alert_stays_is_that_of_its_rule() -> None:
    silenced = {alert for found in (*OPERATIONS.values(), *DRILLS.values()) for alert in causes.alerts(found)}
    windows = {}
    for alert in silenced - {"ObjectiveBurnsFast"}:
        counted = re.findall(r"increase\([^[]*\[(\d+)([smhd])\]", ALERTS[alert]["expr"])
        if counted:
            windows[alert] = max(int(number) * _UNIT_S[unit] for number, unit in counted)
    burns = re.findall(r"bad:ratio(\d+)([mh]) >", ALERTS["ObjectiveBurnsFast"]["expr"])
    short = sorted(int(number) * _UNIT_S[unit] for number, unit in burns)
    assert windows | {"ObjectiveBurnsFast": max(short[:2])} == causes.WINDOWS_S


def test_parts_by_window_are_all_of_a_cause() -> None:
    parts = Cause(("NodeDown", "UnitRestarts", "TargetDown"), "node", ("a",)).by_window()
    assert parts == [
        (0, Cause(("NodeDown", "TargetDown"), "node", ("a",))),
        (1800, Cause(("UnitRestarts",), "node", ("a",))),
    ]
