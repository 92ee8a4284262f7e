"""Settings of the monitoring: who gets which alert, and what is refused before anything is changed."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from hapacs import contract
from hapacs.settings import SettingsError, parse

M = "sites.primary.monitoring"
SERVER = {"host": "mail.hospital.example", "sender": "pacs@hospital.example"}
SOUND: dict[str, Any] = {
    "mail_server": SERVER,
    "receivers": {
        "night": {"mail": ["night@hospital.example"]},
        "desk": {"webhook": "https://tickets.hospital.example/hook", "credentials": "desk"},
    },
    "page": ["night"],
    "ticket": ["desk"],
}


def with_monitoring(data: dict[str, Any], monitoring: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(data)
    changed["sites"]["primary"]["monitoring"] = monitoring
    return changed


def test_without_settings_alerts_go_to_nobody(data: dict[str, Any]) -> None:
    plain = contract.monitoring(parse(data).sites["primary"]).model_dump(mode="json", exclude_none=True)
    assert (plain["retention_days"], plain["retention_bytes"], plain["receivers"]) == (400, 10 * 1024**3, {})


def test_receivers_reach_the_contract(data: dict[str, Any]) -> None:
    plain = contract.monitoring(parse(with_monitoring(data, SOUND)).sites["primary"])
    shown = plain.model_dump(mode="json", exclude_none=True)
    assert shown["receivers"]["desk"] == {
        "mail": [],
        "webhook": "https://tickets.hospital.example/hook",
        "credentials": "desk",
    }
    assert shown["mail_server"] == SERVER | {"port": 587, "starttls": True}


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"page": ["night", "nobody"]}, "page", "there is no receiver nobody"),
        ({"ticket": []}, "receivers.desk", "gets no alert"),
        ({"mail_server": None}, "receivers.night.mail", "give monitoring.mail_server"),
        ({"mail_server": SERVER | {"user": "pacs"}}, "mail_server", "belong together"),
        (
            {"mail_server": SERVER | {"user": "pacs", "credentials": "mail", "starttls": False}},
            "mail_server.starttls",
            "never sent without TLS",
        ),
        (
            {"receivers": SOUND["receivers"] | {"night": {"mail": ["a@b.example"], "webhook": "https://x.example"}}},
            "receivers.night",
            "either mail",
        ),
        (
            {"receivers": SOUND["receivers"] | {"night": {"mail": ["a@b.example"], "credentials": "x"}}},
            "receivers.night.credentials",
            "is for a webhook",
        ),
        (
            {"receivers": SOUND["receivers"] | {"night": {"mail": ["Night <a@b.example>"]}}},
            "receivers.night.mail.0",
            "one address",
        ),
        ({"retention_days": 0}, "retention_days", "1"),
        ({"retention_bytes": "1MiB"}, "retention_bytes", ""),
        ({"pager": []}, "pager", "did you mean page"),
    ],
)
def test_what_can_not_work_is_refused(data: dict[str, Any], change: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse(with_monitoring(data, SOUND | change))
    found = {problem.field: problem.message for problem in refused.value.problems}
    assert words in found[f"{M}.{field}"], found
