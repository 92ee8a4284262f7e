"""The archive lists what it got on each day, and a rebuild compares with that, on real servers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from hapacs_node.catalog.removals import Removal
from hapacs_node.manifest import document
from hapacs_node.manifest.document import Name
from hapacs_node.manifest.run import Manifests
from hapacs_node.node import Node
from hapacs_node.rebuild import run
from hapacs_node.rebuild.progress import Kind
from hapacs_node.storage import listing, names
from tests.storage.conftest import archive
from tests.storage.servers import BUCKET, Postgres, SeaweedFS
from tests.storage.test_rebuild import DATABASE, Site, make_database
from tests.support.images import ct

TODAY = datetime.now(UTC)
YESTERDAY = (TODAY - timedelta(days=1)).date()
LATER = datetime.combine(TODAY.date(), datetime.min.time(), UTC) + timedelta(hours=2)


@pytest.fixture
def seaweedfs(tmp_path: Path) -> Iterator[SeaweedFS]:
    """An archive that has only what the test stores."""
    with archive(tmp_path) as server:
        yield server


@pytest.fixture
def site(make_node: Callable[..., Node], postgres: Postgres, seaweedfs: SeaweedFS, tmp_path: Path) -> Site:
    make_database(postgres)
    site = Site(make_node(database={"name": DATABASE}), postgres, seaweedfs, tmp_path / "rebuild.sqlite")
    site.lose()
    return site


def dated(site: Site, at: datetime, column: str = "stored_at") -> None:
    """Set when all that was stored (or removed) until now was."""
    with site.postgres.connect(DATABASE) as connection:
        if column == "stored_at":
            connection.execute("update hapacs.object set stored_at = %s where stored_at > %s", [at, TODAY])
        else:
            connection.execute("update hapacs.object set tombstoned_at = %s where tombstoned_at > %s", [at, TODAY])


def at(days: int) -> datetime:
    return datetime.combine(TODAY.date() - timedelta(days=days), datetime.min.time(), UTC) + timedelta(hours=12)


def listed(site: Site, day: date) -> list[document.Line]:
    return [line for part in site.manifests.complete()[day] for line in site.manifests.lines(part)]


def written(site: Site) -> list[date]:
    days = site.manifests.lacking(LATER)
    for day in days:
        site.manifests.write(day)
    return days


def test_each_past_day_gets_one_manifest_with_what_was_stored_and_removed(site: Site) -> None:
    old, new = [ct() for _ in range(3)], ct()
    for content in old:
        site.store(content)
    dated(site, at(3))
    first = site.indexed_uuids()[0]
    site.node.storage.remove(first, 1, Removal("removed", "user:anna", "1.2", "1.2.3", "1.2.3.4"))
    dated(site, at(1), "tombstoned_at")
    site.store(new)
    dated(site, at(1))
    site.store(ct())

    assert written(site) == [YESTERDAY - timedelta(days=days) for days in range(3)]
    assert site.manifests.lacking(LATER) == []
    lines = listed(site, YESTERDAY - timedelta(days=2))
    assert {line.digest for line in lines} == {names.digest_of(content) for content in old}
    assert all(line.sop and line.study and line.series for line in lines if line.removed is None)
    assert listed(site, YESTERDAY - timedelta(days=1)) == []
    last = listed(site, YESTERDAY)
    assert [line.removed for line in last] == ["removed", None]
    assert last[1].digest == names.digest_of(new)
    assert site.node.cas.get(last[1].key, last[1].digest, last[1].offset, last[1].length) == new


def test_manifest_is_locked_and_readable_without_us(site: Site) -> None:
    site.store(ct())
    dated(site, at(1))
    written(site)
    (part,) = site.manifests.complete()[YESTERDAY]
    assert site.node.cas.lock(part.key).mode == "GOVERNANCE"
    body = site.s3.get_object(Bucket=BUCKET, Key=part.key)["Body"].read()
    head, line = map(json.loads, gzip.decompress(body).splitlines())
    assert (head["site"], head["day"], head["last"], head["lines"]) == ("main", YESTERDAY.isoformat(), True, 1)
    assert set(line) >= {"digest", "key", "offset", "length", "study", "series", "sop", "stored_at"}


def test_manifest_without_its_last_part_counts_for_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "_LINES", 2)
    for _ in range(5):
        site.store(ct())
    dated(site, at(1))
    put = site.node.cas.put_manifest

    def dies(key: str, content: bytes) -> None:
        name = Name.of(key)
        assert name is not None
        if name.last:
            raise KeyboardInterrupt
        put(key, content)

    with monkeypatch.context() as dying:
        dying.setattr(site.node.cas, "put_manifest", dies)
        with pytest.raises(KeyboardInterrupt):
            site.manifests.write(YESTERDAY)
    assert written(site) == [YESTERDAY]
    parts = site.manifests.complete()[YESTERDAY]
    assert len(parts) == 3
    assert len({line.digest for part in parts for line in site.manifests.lines(part)}) == 5


def test_rebuild_names_what_manifests_list_and_the_archive_has_lost(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = ct()
    site.store(lost)
    kept, deleted = ct(), ct()
    site.store(kept)
    site.store(deleted)
    dated(site, at(2))
    (uuid,) = [one for one in site.indexed_uuids() if site.node.storage.read(one, 1) == deleted]
    site.node.storage.remove(uuid, 1, Removal("removed", "user:anna"))
    dated(site, at(1), "tombstoned_at")
    written(site)
    site.lose()
    # Nobody can delete an object of a locked bucket: the archive does not list it.
    key = names.cas_key(names.digest_of(lost))
    monkeypatch.setattr(run, "listed", lambda *asked: (one for one in listing.listed(*asked) if one.key != key))
    counts = site.rebuild()
    assert (counts.in_manifests, counts.lost) == (2, 1)
    assert [digest for kind, _, digest, _ in site.problems if kind is Kind.MISSING] == [names.digest_of(lost)]
    assert [digest for kind, _, digest, _ in site.problems if kind is Kind.DELETED] == [names.digest_of(deleted)]


def test_rebuild_of_a_whole_archive_has_nothing_missing(site: Site) -> None:
    for _ in range(4):
        site.store(ct())
    dated(site, at(1))
    written(site)
    site.lose()
    counts = site.rebuild()
    assert (counts.in_manifests, counts.lost, site.problems) == (4, 0, [])


def test_first_day_of_an_empty_site_lacks_nothing(site: Site) -> None:
    assert Manifests("main", site.node.database, site.node.cas).lacking(LATER) == []
