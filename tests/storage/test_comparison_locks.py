"""Locks of two sites are compared, each with the retention of its own site."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from hapacs_node.errors import CasMissingError, CasUnavailableError, NodeError
from hapacs_node.replication.compare import Outcome
from hapacs_node.replication.compare_locks import LockComparison
from hapacs_node.replication.locks import Locks
from hapacs_node.replication.ranges import Here, There
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.client import Lock
from tests.storage.servers import Postgres
from tests.storage.two_sites import IMAGES, Site, post, two_sites

pytestmark = pytest.mark.timeout(200)
NOW = datetime.now(UTC)


def until(days: int) -> str:
    return f"{NOW + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"


@dataclass
class Archive:
    """An archive that locks for 30 days, but for some keys."""

    others: dict[str, Lock | NodeError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def lock(self, key: str) -> Lock:
        self.asked.append(key)
        found = self.others.get(key, Lock("COMPLIANCE", until(30), "v1"))
        if isinstance(found, NodeError):
            raise found
        return found


@pytest.fixture
def sites(postgres: Postgres, tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    with two_sites(postgres, tmp_path) as found:
        yield found


def locks(site: Site, archive: Archive, days: int = 30) -> Locks:
    return Locks(site.database, cast(Cas, archive), "COMPLIANCE", days)


def key(site: Site, sop: str) -> str:
    query = "select key from hapacs.object join hapacs.instance using (uuid) where sop = %s"
    row = site.connection.execute(query, [sop]).fetchone()
    assert row is not None
    return str(row[0])


def test_each_kind_of_wrong_lock_is_named(sites: tuple[Site, Site]) -> None:
    site, archive = sites[0], Archive()
    wrong: dict[str, tuple[Lock | NodeError, str]] = {
        "1.1": (Lock(None, None), "its object is not locked"),
        "1.2": (Lock("GOVERNANCE", until(30), "v1"), "its object has the lock GOVERNANCE instead of COMPLIANCE"),
        "1.3": (Lock("COMPLIANCE", until(-1), "v1"), "the lock of its object has ended"),
        "1.4": (Lock("COMPLIANCE", until(20), "v1"), f"its lock ends at {until(20)[:10]}"),
        "1.5": (CasMissingError("no"), "the archive has no such object"),
    }
    for number, (sop, (lock, _)) in enumerate(wrong.items()):
        site.add(sop, digest=f"{number:064x}")
        archive.others[key(site, sop)] = lock
    site.add("1.6", digest="ab" * 32)
    found = dict(locks(site, archive).problems([*wrong, "1.6", "1.7"], None))
    assert found.keys() == wrong.keys()
    assert all(found[sop].startswith(problem) for sop, (_, problem) in wrong.items())


def test_equal_bytes_are_locked_since_they_came_first(sites: tuple[Site, Site]) -> None:
    site, archive = sites[0], Archive()
    site.add("1.1")
    archive.others[key(site, "1.1")] = Lock("COMPLIANCE", until(20), "v1")
    assert locks(site, archive).problems(["1.1"], None)
    # An image with the same bytes was there ten days before, and was removed.
    site.add("1.2")
    site.run("update hapacs.object set stored_at = now() - interval '10 days', tombstoned_at = now(), "
             "tombstoned_by = 'a' where uuid in (select uuid from hapacs.instance where sop = '1.2')")  # fmt: skip
    assert locks(site, archive).problems(["1.1"], None) == []


def test_an_archive_that_does_not_answer_is_no_missing_lock(sites: tuple[Site, Site]) -> None:
    site, archive = sites[0], Archive()
    site.add("1.1")
    archive.others[key(site, "1.1")] = CasUnavailableError("no gateway")
    with pytest.raises(CasUnavailableError):
        locks(site, archive).problems(["1.1"], None)


def test_the_second_site_says_its_problems(sites: tuple[Site, Site]) -> None:
    here, there, archive = *sites, Archive()
    there.add("1.1")
    archive.others[key(there, "1.1")] = Lock(None, None)
    wanted = [("1.1", "its object is not locked")]
    assert There(post(there, locks(there, archive))).locks(["1.1"], None) == wanted
    with pytest.raises(NodeError, match="retention of this site is not known"):
        Here(here.database).locks(["1.1"], None)


def test_each_comparison_goes_on_after_the_last_one(sites: tuple[Site, Site]) -> None:
    here, there = sites
    first, second = Archive(), Archive()
    outcome, start = Outcome.empty(10), ""
    for most, read in ((100, 100), (100, 100), (100, IMAGES - 200)):
        ours, theirs = Here(here.database, locks(here, first)), There(post(there, locks(there, second)))
        reading = LockComparison(here.database, ours, theirs, None, most, pause_s=0)
        start = reading.run(outcome, start)
        assert reading.read == read
    assert start == ""
    assert len(first.asked) == len(set(first.asked)) == IMAGES
    assert set(second.asked) == set(first.asked)
    assert not outcome.differences


def test_a_lock_that_is_wrong_twice_makes_a_difference(sites: tuple[Site, Site]) -> None:
    here, there = sites
    archive = Archive()
    for sop in ("1.1", "1.2"):
        for site in sites:
            site.add(sop, digest=f"{sop:0>64}".replace(".", "0"))
        archive.others[key(there, sop)] = Lock(None, None)
    theirs = post(there, locks(there, archive))

    def answer(content: bytes) -> bytes:
        found = theirs(content)
        # At the second look it is there.
        archive.others.pop(key(there, "1.2"), None)
        return found

    ours = Here(here.database, locks(here, Archive()))
    outcome = Outcome.empty(10)
    LockComparison(here.database, ours, There(answer), "1.2.3", 100, pause_s=0).run(outcome, "")
    assert outcome.different.images == {"1.1": "at the second site: its object is not locked"}
