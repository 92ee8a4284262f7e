"""Backups: which node is asked for whose, what is printed, and how the commands end."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from hapacs.cli import chosen
from hapacs.cli.commands import app
from hapacs.site import backup, digests
from hapacs.site.access import Node, NodeError

INFO: dict[str, Any] = {
    "backup": [
        {
            "label": "20260301-020003F", "type": "full", "error": False, "timestamp": {"start": 1000, "stop": 1090},
            "info": {"size": 7_000_000, "repository": {"delta": 2_000_000}}, "archive": {"start": "0" * 24},
        }
    ]
}  # fmt: skip
REPORT = {
    "rows": {"pacs": dict.fromkeys(backup.TABLES["pacs"], 20)},
    "digests": {"pacs": {table: ["0|10|1|1", "1|10|2|2"] for table in digests.statements("")}},
    "recovered_s": 90.0, "restore_s": 60.0, "bytes": 7_000_000, "mb_per_s": 0.1, "last_commit": 5.0,
}  # fmt: skip


class FakeSite:
    """A site of one node, which answers by the program that it is asked for."""

    def __init__(self, name: str, node: str, kept_by: str = "") -> None:
        self.name, self.deployment = name, SimpleNamespace(name="lab")
        self.nodes = {node: Node(node, "10.0.0.1", "", "hapacs", 22)}
        self.contract: dict[str, Any] = {
            "nodes": {node: {"data_directory": "/srv/data"}},
            "members": {"postgres": [node]},
        }
        if kept_by:
            self.contract["backup"] = {"host": kept_by}
        self.answers = {"info": json.dumps([INFO]), "pgbackrest-backup": "", "pgbackrest-rehearse": json.dumps(REPORT)}
        self.live = [20, 20]
        self.digests = ["0|10|1|1", "1|10|2|2"]
        self.archived = ["f", "t"]
        self.asked: list[list[str]] = []

    def members(self, group: str) -> list[Node]:
        return [self.nodes[name] for name in self.contract["members"][group]]

    def run(self, _node: Node, words: Sequence[str], text: str, _timeout_s: float = 60) -> str:
        if text:
            return self._sql(text)
        said = shlex.split(" ".join(words))
        self.asked.append(said)
        for program, answer in self.answers.items():
            if any(word.rpartition("/")[2] == program for word in said):
                if answer == "down":
                    raise NodeError("dr1", "exit code 1")
                return answer
        raise AssertionError(said)

    def _sql(self, text: str) -> str:
        if "bit_xor" in text:
            return "\n".join(self.digests)
        if "count(*)" in text:
            return f"{self.live.pop(0)}\n" * len(backup.TABLES["pacs"])
        if "last_archived_wal" in text:
            return self.archived.pop(0) if len(self.archived) > 1 else self.archived[0]
        return {"select not pg_is_in_recovery()": "t", backup._LAG: "12.5"}.get(text, "000000010000000000000007")


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> tuple[FakeSite, FakeSite]:
    found = (FakeSite("primary", "pacs1", "dr1"), FakeSite("dr", "dr1"))
    monkeypatch.setattr(chosen, "sites", lambda _name, _site: list(found))
    monkeypatch.setattr("time.sleep", lambda _: None)
    return found


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
    return result.exit_code, result.stdout if "--json" in words else result.output


def test_node_of_the_other_site_lists_the_backups_of_this_one(places: tuple[FakeSite, FakeSite]) -> None:
    code, said = run("backup", "list", "lab", "--json")
    assert code == 0
    assert json.loads(said)["node"] == "dr1"
    assert json.loads(said)["backups"][0] | {"first_wal": ""} == {
        "label": "20260301-020003F", "type": "full", "began": 1000, "ended": 1090, "database_bytes": 7_000_000,
        "kept_bytes": 2_000_000, "error": False, "first_wal": "",
    }  # fmt: skip
    assert "--stanza=lab-primary" in places[1].asked[0]
    code, said = run("backup", "list", "lab")
    assert "20260301-020003F" in said
    assert "1 min 30 s" in said


@pytest.mark.parametrize("found", [{"backup": []}, {"backup": [INFO["backup"][0] | {"error": True}]}])
def test_no_whole_backup_is_a_failure(places: tuple[FakeSite, FakeSite], found: dict[str, Any]) -> None:
    places[1].answers["info"] = json.dumps([found])
    code, said = run("backup", "list", "lab")
    assert code == 1
    assert "no whole backup" in " ".join(said.split())


def test_site_without_backups_is_refused(places: tuple[FakeSite, FakeSite]) -> None:
    result = CliRunner().invoke(app, ["backup", "list", "lab", "--site", "dr"])
    assert "dr has no backups" in str(result.exception)
    assert places[1].asked == []


def test_backup_is_made_of_this_database_only_and_with_its_owners_rights(places: tuple[FakeSite, FakeSite]) -> None:
    code, said = run("backup", "now", "lab", "--type", "full", "--json")
    assert code == 0, said
    asked = places[1].asked[0]
    assert asked[-2:] == ["full", "lab-primary"]
    assert "--property=User=pgbackrest" in asked
    assert "--property=ReadWritePaths=/srv/data/pgbackrest" in asked


def test_failed_backup_names_the_journal(places: tuple[FakeSite, FakeSite]) -> None:
    places[1].answers["pgbackrest-backup"] = "down"
    result = CliRunner().invoke(app, ["backup", "now", "lab"])
    assert "No backup was made" in str(result.exception)


def test_rehearsal_compares_and_reports(places: tuple[FakeSite, FakeSite]) -> None:
    places[0].live = [19, 21]
    code, said = run("restore", "lab", "--rehearse", "--json")
    assert code == 0, said
    report = json.loads(said)
    assert report["counts"]["hapacs.object"] == {"before": 19, "restored": 20, "after": 21, "ok": True}
    assert (report["rpo_s"], report["rto_s"], report["mb_per_s"]) == (12.5, 90.0, 0.1)
    assert {"--property=PrivateNetwork=yes", "--property=User=pgbackrest-scratch"} <= set(places[1].asked[0])


def test_rows_with_other_contents_are_a_failure_although_their_number_is_right(
    places: tuple[FakeSite, FakeSite],
) -> None:
    places[0].digests[1] = "1|10|2|3"
    code, said = run("restore", "lab", "--rehearse", "--json")
    assert code == 1
    report = json.loads(said)
    assert report["counts"]["hapacs.object"]["ok"]
    assert report["digests"]["hapacs.object"] == {"rows": 20, "different": 1, "changed": 0, "ok": False}


@pytest.mark.parametrize(
    ("before", "restored", "after", "found"),
    [
        (["0|1|5|5"], ["0|1|5|5"], ["0|1|5|5"], {"rows": 1, "different": 0, "changed": 0, "ok": True}),
        (["0|1|5|5"], [], ["0|1|5|5"], {"rows": 1, "different": 1, "changed": 0, "ok": False}),
        ([], ["0|1|5|5"], [], {"rows": 0, "different": 1, "changed": 0, "ok": False}),
        # Updated, removed or committed meanwhile: nothing can be said.
        (["0|1|5|5"], ["0|1|5|5"], ["0|1|6|6"], {"rows": 0, "different": 0, "changed": 1, "ok": True}),
        (["0|1|5|5"], ["0|1|5|5"], [], {"rows": 0, "different": 0, "changed": 1, "ok": True}),
        ([], ["0|1|5|5"], ["0|1|5|5"], {"rows": 0, "different": 0, "changed": 1, "ok": True}),
    ],
)
def test_parts_that_did_not_change_meanwhile_have_to_be_the_same(
    before: list[str], restored: list[str], after: list[str], found: dict[str, Any]
) -> None:
    assert digests.compared(before, restored, after) == found


@pytest.mark.parametrize("live", [[21, 22], [18, 19]])
def test_missing_or_foreign_rows_are_a_failure(places: tuple[FakeSite, FakeSite], live: list[int]) -> None:
    places[0].live = live
    code, said = run("restore", "lab", "--rehearse")
    assert code == 1
    assert "Rows are missing" in " ".join(said.split())


def test_wal_that_does_not_arrive_is_a_failure(
    places: tuple[FakeSite, FakeSite], monkeypatch: pytest.MonkeyPatch
) -> None:
    places[0].archived = ["f"]
    monkeypatch.setattr(backup, "_ARCHIVED_WITHIN_S", -1)
    result = CliRunner().invoke(app, ["restore", "lab", "--rehearse"])
    assert "did not arrive" in str(result.exception)
    assert places[1].asked == []
