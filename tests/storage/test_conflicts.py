"""Both sites stored an image with the same UIDs and other bytes: a person decides, in two real databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hapacs_node.catalog import conflicts
from hapacs_node.cli import app
from hapacs_node.replication.names import CALLER
from tests.storage.servers import Postgres
from tests.storage.two_sites import Site, two_sites

OURS, THEIRS, OTHER = "ab" * 32, "cd" * 32, "ef" * 32
SOP, ALONE, FINE = "9.9.1", "9.9.2", "9.9.3"


@pytest.fixture
def sites(postgres: Postgres, tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    """Both have set `SOP` aside; here `ALONE` as well, and `FINE` was copied."""
    with two_sites(postgres, tmp_path) as (here, there):
        here.add(SOP, digest=OURS, caller="title:CT1")
        there.add(SOP, digest=THEIRS, caller="user:anna")
        here.add(ALONE, digest=OTHER)
        here.add(FINE, digest=OTHER)
        here.task(SOP, "dead", "other bytes are there")
        there.task(SOP, "dead", "other bytes are there")
        here.task(ALONE, "dead", "status 0xC000")
        here.task(FINE, "confirmed")
        yield here, there


def task_of(site: Site, sop: str) -> tuple[str, str]:
    row = site.connection.execute("select state, reason from hapacs.task where sop = %s", [sop]).fetchone()
    assert row is not None
    return str(row[0]), str(row[1])


def caller_of(site: Site, sop: str) -> str:
    row = site.connection.execute(
        "select o.caller from hapacs.object o join hapacs.instance i using (uuid) where i.sop = %s", [sop]
    ).fetchone()
    assert row is not None
    return str(row[0])


def test_what_was_set_aside_is_listed_with_its_bytes_and_its_caller(sites: tuple[Site, Site]) -> None:
    here, there = sites
    found = {one.sop: one for one in here.database.run(lambda c: conflicts.aside(c, 10))}
    assert set(found) == {SOP, ALONE}
    assert (found[SOP].digest, found[SOP].caller, found[SOP].reason) == (OURS, "title:CT1", "other bytes are there")
    assert [one.digest for one in there.database.run(lambda c: conflicts.aside(c, 10))] == [THEIRS]


def test_one_image_gives_way_and_the_other_one_is_sent_again(sites: tuple[Site, Site]) -> None:
    here, there = sites
    assert here.database.run(lambda c: conflicts.give_way(c, [SOP, FINE, "1.1"], "wrong scan (anna)")) == [SOP]
    assert there.database.run(lambda c: conflicts.keep(c, [SOP, FINE, "1.1"], "wrong scan (anna)")) == [SOP]
    state, reason = task_of(here, SOP)
    assert state == "dropped"
    assert "wrong scan (anna)" in reason
    assert "title:CT1" in reason
    # A copy replaces what is a copy (`Replacement.has_copy`).
    assert caller_of(here, SOP) == CALLER
    assert task_of(there, SOP)[0] == "waiting"
    # Nothing else was touched, and it is over.
    assert task_of(here, ALONE) == ("dead", "status 0xC000")
    assert task_of(here, FINE)[0] == "confirmed"
    assert caller_of(here, FINE) == "title:CT1"
    assert here.database.run(lambda c: conflicts.give_way(c, [SOP], "again")) == []


def test_commands_of_a_node_list_and_decide(sites: tuple[Site, Site], tmp_path: Path) -> None:
    here, _ = sites
    # The configuration that was written last is that of the other site.
    configuration = tmp_path / "node.json"
    document = json.loads(configuration.read_text())
    document["database"]["name"] = here.connection.info.dbname
    configuration.write_text(json.dumps(document))

    def run(*words: str, text: str = "") -> tuple[int, dict[str, object]]:
        done = CliRunner().invoke(app, ["replication", *words, "--config", str(configuration), "--json"], input=text)
        return done.exit_code, json.loads(done.stdout) if done.stdout else {}

    code, said = run("aside")
    assert code == 1
    listed = said["aside"]
    assert isinstance(listed, list)
    assert {one["sop"] for one in listed} == {SOP, ALONE}
    assert run("give-way", "--reason", "x", text=f"{SOP}\n") == (0, {"done": [SOP]})
    # It is decided already.
    assert run("keep", "--reason", "x", text=f"{SOP}\n") == (1, {"done": []})
    assert run("keep", "--reason", "x")[0] == 2
    assert run("keep", "--reason", "x", text=ALONE) == (0, {"done": [ALONE]})
    assert run("aside") == (0, {"aside": []})
