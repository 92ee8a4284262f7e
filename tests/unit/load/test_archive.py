"""How the check of a load finds the leader of the database."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hapacs.load.archive import SiteArchive
from hapacs.load.ledger import Entry, Series
from hapacs.site.access import NodeError, Site
from hapacs.site.database import Database

SERIES = Series("1.2.1", "1.2.2", "PATTERN")
ENTRIES = [Entry("1.2.3", "1.2.1", "1.2.2", "PATTERN", "d")]


class Leaders:
    """Databases of which each node leads in turn; `asked` says which one was found, and which one was asked."""

    def __init__(self) -> None:
        self.leader, self.off = "pacs1", ""
        self.asked: list[str] = []

    def of(self, _site: Site) -> Any:
        self.asked.append(f"found {self.leader}")
        return SimpleNamespace(
            leader=SimpleNamespace(name=self.leader), rows=lambda _, name=self.leader: self.rows(name)
        )

    def rows(self, name: str) -> list[str]:
        self.asked.append(name)
        if name == self.off:
            raise NodeError(name, "no answer")
        counts = dict.fromkeys(("patients", "studies", "series"), 1)
        return [json.dumps({"leads": name == self.leader, "files": [], **counts})]


@pytest.fixture
def leaders(monkeypatch: pytest.MonkeyPatch) -> Leaders:
    made = Leaders()
    monkeypatch.setattr(Database, "of", made.of)
    monkeypatch.setattr("time.sleep", lambda _: None)
    return made


@pytest.fixture
def checked(leaders: Leaders) -> SiteArchive:
    assert not leaders.asked
    policy = {"retention_mode": "COMPLIANCE", "cas_replication": "010"}
    site = SimpleNamespace(
        members=lambda _: [SimpleNamespace(name="pacs1")], orthanc=lambda *_: None, s3=lambda *_: None,
        contract={"policy": policy},
    )  # fmt: skip
    return SiteArchive(cast(Site, site), ["pacs1"])


def test_leader_is_found_once(leaders: Leaders, checked: SiteArchive) -> None:
    for _ in range(3):
        checked.rows(SERIES, ENTRIES)
    assert leaders.asked == ["found pacs1", *["pacs1"] * 3]


@pytest.mark.parametrize("off", ["", "pacs1"])
def test_new_leader_is_found_when_the_former_one_leads_no_more(
    leaders: Leaders, checked: SiteArchive, off: str
) -> None:
    checked.rows(SERIES, ENTRIES)
    leaders.leader, leaders.off = "pacs2", off
    checked.rows(SERIES, ENTRIES)
    checked.rows(SERIES, ENTRIES)
    assert leaders.asked[2:] == ["pacs1", "found pacs2", "pacs2", "pacs2"]
