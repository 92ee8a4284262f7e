"""What `hapacs find` collects from the nodes, and what it prints of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from rich.text import Text

from hapacs.cli.find import lines
from hapacs.errors import UsageError
from hapacs.site.access import Node, NodeError, Site
from hapacs.site.find import find, kind_of

DIGEST, OTHER = "ab" * 32, "cd" * 32
STUDY, SERIES, SOP = "1.2.3", "1.2.3.1", "1.2.3.1.1"
UNTIL = datetime(2036, 1, 2, 3, 4, 5, tzinfo=UTC)


def image(level: str, sop: str = SOP, digest: str | None = DIGEST, **other: Any) -> dict[str, Any]:
    stored = {"size": 10, "key": f"sha256/{digest}", "node": "pacs1", "stored_at": "2026-11-28T08:00:00+00:00"}
    nothing = dict.fromkeys(stored)
    return {"level": level, "study": STUDY, "series": SERIES, "sop": sop, "digest": digest} | (
        (stored if digest else nothing) | other
    )


def report(das: str = "whole", **other: Any) -> dict[str, Any]:
    row = {
        "uuid": "u", "size": 1234, "key": f"sha256/{DIGEST}", "node": "pacs1", "acknowledged": True,
        "stored_at": "2026-11-28T08:00:00+00:00", "tombstoned_at": None,
    }  # fmt: skip
    cas = {"state": "whole", "retention_mode": "COMPLIANCE", "retained_until": UNTIL.isoformat()}
    received = {"at": "2026-11-28T08:00:00+00:00", "protocol": "DicomProtocol", "calling_title": "CT1"}
    one = {"digest": DIGEST, "catalog": [row | other], "das": {"state": das}, "cas": cas, "received": received}
    event = {"at": "2026-11-28T08:00:00+00:00", "event": "stored", "caller": "CT1", "address": "203.0.113.64"}
    return {"ok": True, "objects": [one], "events": [event] if das == "whole" else []}


class FakeSite:
    """A site of two nodes that answers commands by SSH."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.name = "primary"
        self.contract = {"policy": {"cas_replication": "010"}}
        self.nodes = {name: Node(name, "", "", "hapacs", 22) for name in ("pacs1", "pacs2")}
        self.rows = rows
        self.reports = {"pacs1": json.dumps(report()), "pacs2": json.dumps(report("missing"))}
        self.files = {"pacs1": f"10:/srv/das/sha256/ab/ab/{DIGEST}\n", "pacs2": ""}
        self.down: set[str] = set()
        self.unlocked: set[str] = set()
        self.gateways_down: set[str] = set()
        self.asked: list[tuple[str, ...]] = []

    def members(self, _group: str) -> list[Node]:
        return list(self.nodes.values())

    def run(self, node: Node, words: Sequence[str], text: str, _timeout_s: float = 60) -> str:
        self.asked.append(tuple(words))
        if node.name in self.down:
            raise NodeError(node.name, "no answer within 60 s")
        if "psql" in words:
            return "t\n" if "pg_is_in_recovery" in text else json.dumps(self.rows)
        if "journalctl" in words:
            if f"HAPACS_SOP={SOP}" in words:
                return "2026-11-28T08:00:02+0000 event\n"
            return "2026-11-28T08:00:01+0000 request\n2026-11-28T08:00:03+0000 association\n"
        return self.files[node.name] if "sh" in words else self.reports[node.name]

    def s3(self, node: str, _identity: str) -> Any:
        def retention(*, Key: str, **_: str) -> Any:  # noqa: N803 - boto3's name
            if node in self.gateways_down:
                raise EndpointConnectionError(endpoint_url=node)
            if Key in self.unlocked:
                raise ClientError({"Error": {"Code": "NoSuchObjectLockConfiguration"}}, "GetObjectRetention")
            return {"Retention": {"Mode": "COMPLIANCE", "RetainUntilDate": UNTIL}}

        return SimpleNamespace(get_object_retention=retention)


def printed(site: FakeSite, name: str, *, log: bool = False, instances: bool = False) -> str:
    found = find(cast(Site, site), name, log=log)
    return "\n".join(Text.from_markup(line).plain for line in lines(found, instances=instances))


@pytest.mark.parametrize(("name", "kind"), [("1.2.840.1", "uid"), (DIGEST, "digest")])
def test_a_uid_and_a_digest_are_told_apart(name: str, kind: str) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize("name", ["", "CT1", "1.2;id", "1" * 65, DIGEST.upper(), "$(id)", "1.2\n"])
def test_other_words_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="neither a UID"):
        kind_of(name)


def test_an_image_shows_sender_copies_lock_and_events() -> None:
    text = printed(FakeSite([image("image")]), SOP)
    assert "received  2026-11-28 08:00:00 UTC from CT1" in text
    assert "1,234 bytes, stored 2026-11-28 08:00:00 UTC by pacs1, in the index" in text
    assert "online    pacs1 whole, pacs2 missing" in text
    assert "archive   whole, 2 copies in different zones" in text
    assert "lock      COMPLIANCE until 2036-01-02 03:04:05 UTC" in text
    assert "stored on pacs1" in text
    assert "for CT1 at 203.0.113.64" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_removed_image_is_found_by_what_its_node_remembers() -> None:
    site = FakeSite([])
    removed = report(acknowledged=False, tombstoned_at="2026-11-28T09:00:00+00:00")
    site.reports = {"pacs1": json.dumps(removed), "pacs2": json.dumps({"ok": False, "objects": [], "events": []})}
    assert "removed 2026-11-28 09:00:00 UTC" in printed(site, SOP)


def test_an_image_without_a_row_in_the_catalog_says_so() -> None:
    site = FakeSite([image("image", digest=None)])
    lost = json.dumps({"ok": False, "objects": [{"digest": None, "catalog": []}], "events": []})
    site.reports = dict.fromkeys(site.nodes, lost)
    assert "object    no row in the catalog" in printed(site, SOP)


def test_a_study_shows_counts_and_the_copies_of_each_node() -> None:
    site = FakeSite([image("study"), image("study", f"{SOP}.2", OTHER, node="pacs2", series=f"{SERIES}.2")])
    text = printed(site, STUDY)
    assert "study of 2 images, 20 bytes" in text
    assert "online    pacs1: 1 of 2\n            pacs2: 0 of 2" in text
    assert "2 of 2 objects locked" in text
    assert f"series    {SERIES}\n            1 images" in text
    assert OTHER not in text
    assert OTHER in printed(site, STUDY, instances=True)


def test_a_file_of_another_size_is_no_online_copy() -> None:
    site = FakeSite([image("series")])
    site.files["pacs1"] = site.files["pacs1"].replace("10:", "9:")
    assert "pacs1: 0 of 1" in printed(site, SERIES)


def test_an_unlocked_object_and_a_missing_row_are_shown() -> None:
    site = FakeSite([image("study"), image("study", f"{SOP}.2", None)])
    site.unlocked = {f"sha256/{DIGEST}"}
    text = printed(site, STUDY)
    assert "0 of 1 objects locked" in text
    assert f"sha256/{DIGEST}: An error occurred (NoSuchObjectLockConfiguration)" in text
    assert "1 images have no row" in text


def test_locks_are_asked_of_the_next_gateway_when_one_is_down() -> None:
    site = FakeSite([image("study")])
    site.gateways_down = {"pacs1"}
    assert "1 of 1 objects locked" in printed(site, STUDY)


@pytest.mark.parametrize("down", ["pacs1", "pacs2"])
def test_a_node_that_does_not_answer_is_named_and_the_others_are_shown(down: str) -> None:
    site = FakeSite([image("image")])
    site.down = {down}
    text = printed(site, SOP)
    assert f"{down} did not answer" in text
    assert ({"pacs1": "pacs2 missing", "pacs2": "pacs1 whole"}[down]) in text


def test_a_program_that_fails_on_a_node_is_reported_with_its_message() -> None:
    site = FakeSite([image("image")])
    site.reports["pacs2"] = "the database can't be reached\n"
    assert "pacs2 did not answer: pacs2 by SSH: the database can't be reached" in printed(site, SOP)


def test_an_unknown_uid_is_not_found() -> None:
    site = FakeSite([])
    site.reports = dict.fromkeys(site.nodes, json.dumps({"ok": False, "objects": [], "events": []}))
    found = find(cast(Site, site), SOP)
    assert not found
    assert found.document()["found"] is False
    assert printed(site, SOP) == "primary: not found"


def test_an_unknown_uid_is_not_denied_when_nodes_are_silent() -> None:
    site = FakeSite([])
    site.down = set(site.nodes)
    assert printed(site, SOP).startswith("primary: not found on the nodes that answered\n")


def test_a_digest_is_asked_of_the_catalog_and_not_of_the_index() -> None:
    site = FakeSite([])
    assert "online    pacs1 whole" in printed(site, DIGEST)
    assert not any("psql" in words for words in site.asked)


def test_journal_lines_are_events_by_field_and_output_by_the_whole_uid() -> None:
    site = FakeSite([image("image")])
    text = printed(site, SOP, log=True)
    words = (
        "2026-11-28T08:00:01+0000 request",
        "2026-11-28T08:00:02+0000 event",
        "2026-11-28T08:00:03+0000 association",
    )
    assert "\n    ".join(("journal of pacs2: 3 lines", *words)) in text
    by_field, by_text = sorted(
        {asked for asked in site.asked if "journalctl" in asked}, key=lambda asked: "--unit=haproxy" in asked
    )
    assert f"HAPACS_SOP={SOP} + HAPACS_SERIES={SOP} + HAPACS_STUDY={SOP} + HAPACS_DIGEST={SOP}" in " ".join(by_field)
    assert r"'--grep=(^|[^0-9.])1\.2\.3\.1\.1([^0-9.]|$)'" in by_text
    assert {"_TRANSPORT=stdout", "--unit=haproxy", "--unit=orthanc-store", "--unit=orthanc-query"} <= set(by_text)
