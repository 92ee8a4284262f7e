"""Two sites are compared by digests of ranges: two databases of a real PostgreSQL, and the real server between them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import psycopg
import pytest
from psycopg.errors import ReadOnlySqlTransaction
from typer.testing import CliRunner

from hapacs.bench import compare as bench
from hapacs.pki import Authority
from hapacs_node import settings
from hapacs_node.catalog import compared, comparison, replication, ruleset, schema
from hapacs_node.catalog.database import Connection, Database
from hapacs_node.cli import app
from hapacs_node.commitment.ranges import Ranges
from hapacs_node.commitment.replicas import Replicas
from hapacs_node.errors import NodeError
from hapacs_node.https import Listener
from hapacs_node.metrics import Metrics
from hapacs_node.replication.compare import Comparison, Outcome
from hapacs_node.replication.names import RANGES_PATH
from hapacs_node.replication.ranges import QUESTION, Here, There
from hapacs_node.replication.status import Shown
from hapacs_node.settings import Settings
from tests.storage.servers import PASSWORD, Postgres
from tests.unit.node.certificates import certificate

pytestmark = pytest.mark.timeout(200)
# Several ranges, and one that is not full.
IMAGES = 230
NAMES = ("object", "instance", "event", "task", "removal", "replication", "comparison")
TABLES = ", ".join(["attachedfiles", *(f"hapacs.{name}" for name in NAMES)])


@pytest.fixture(autouse=True)
def short_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hapacs_node.replication.ranges.STEP", 100)
    monkeypatch.setattr("hapacs_node.replication.ranges.MOST_IMAGES", 200)


@dataclass
class Site:
    """A site's database."""

    database: Database
    connection: psycopg.Connection[Any]

    def run(self, sql: str, *values: object) -> None:
        self.connection.execute(sql, values or None)

    def add(self, sop: str, *, digest: str = "ab" * 32, caller: str | None = "title:CT1", indexed: bool = True) -> None:
        """Store an image of the study 1.2.3."""
        uuid = uuid4()
        self.run(
            "insert into hapacs.object (uuid, digest, size, type, store, key, \"offset\", length, node, caller) "
            "values (%s, decode(%s, 'hex'), 12, 1, 'cas', %s, 0, 12, 'pacs1', %s)",
            uuid, digest, digest, caller,
        )  # fmt: skip
        self.run(
            "insert into hapacs.instance (uuid, study, series, sop, sop_class, described_as, shown, found) "
            "values (%s, '1.2.3', '1.2.3.4', %s, '1.2', 'test', '{}', '{}')",
            uuid, sop,
        )  # fmt: skip
        if indexed:
            self.run("insert into attachedfiles values (1, 1, %s, 12, 12, 1, '', '')", str(uuid))

    def sops(self, condition: str) -> set[str]:
        """Return the UIDs of made images."""
        return {str(row[0]) for row in self.connection.execute(f"select sop from made where {condition}")}  # noqa: S608

    def task(self, sop: str, state: str, reason: str = "") -> None:
        """Make the task that copies an image."""
        self.run(
            "insert into hapacs.task (kind, destination, uuid, study, series, sop, sop_class, transfer_syntax, size, "
            "node, rule, priority, state, reason) select 'replicate', 'second site', uuid, study, series, sop, '', '', "
            "12, 'pacs1', 'new-images', 1, %s, %s from hapacs.instance where sop = %s",
            state, reason, sop,
        )  # fmt: skip


@pytest.fixture
def configure(tmp_path: Path, postgres: Postgres) -> Callable[[str], Settings]:
    """Write the configuration of a node that uses a database; no archive is needed."""

    def write(name: str) -> Settings:
        for file, content in {"password": PASSWORD, "cas.json": '{"access_key": "a", "secret_key": "b"}'}.items():
            (tmp_path / file).write_text(content)
        document = {
            "node": "pacs1",
            "site": "main",
            "database": {
                "hosts": ["127.0.0.1"],
                "port": postgres.port,
                "name": name,
                "password_file": str(tmp_path / "password"),
            },
            "das": {"root": str(tmp_path), "minimum_free_bytes": 0, "must_be_mount": False},
            "cas": {
                "gateways": ["http://127.0.0.1:1"],
                "bucket": "bucket",
                "credentials_file": str(tmp_path / "cas.json"),
            },
        }
        (tmp_path / "node.json").write_text(json.dumps(document))
        return settings.load(tmp_path / "node.json")

    return write


@pytest.fixture(scope="module")
def names() -> dict[str, str]:
    return {"here": f"here_{uuid4().hex[:8]}", "there": f"there_{uuid4().hex[:8]}"}


@pytest.fixture
def sites(
    postgres: Postgres, configure: Callable[[str], Settings], names: dict[str, str]
) -> Iterator[tuple[Site, Site]]:
    """Two sites with the same images under other UUIDs."""
    found = []
    for name in names.values():
        with postgres.connect() as connection:
            new = not connection.execute("select from pg_database where datname = %s", [name]).fetchall()
            if new:
                connection.execute(f"create database {name}")
        database = Database(configure(name).database, Metrics())
        connection = postgres.connect(name)
        if new:
            schema.migrate(database)
            connection.execute(bench.INDEX)
        else:
            connection.execute(f"truncate {TABLES} cascade")
            connection.execute("drop table made; drop index if exists attachedfiles_uuid_idx")
        bench.fill(connection, IMAGES)
        found.append(Site(database, connection))
    yield found[0], found[1]
    for site in found:
        site.database.close()
        site.connection.close()


@pytest.fixture
def here(sites: tuple[Site, Site]) -> Site:
    return sites[0]


@pytest.fixture
def there(sites: tuple[Site, Site]) -> Site:
    return sites[1]


@pytest.fixture
def compare(sites: tuple[Site, Site]) -> Callable[..., Outcome]:
    def run(**options: Any) -> Outcome:
        return Comparison(sites[0].database, There(post(sites[1])), pause_s=0, **options).run()

    return run


def post(site: Site) -> Callable[[bytes], bytes]:
    """Return what answers as the second site does."""
    answer = Ranges(site.database).answer
    return lambda content: json.dumps(answer(content)).encode()


def listed(outcome: Outcome) -> dict[str, set[str]]:
    kinds = ("only_here", "only_there", "different", "waiting", "deleted_here", "left_out")
    return {kind: set(found.images) for kind in kinds if (found := getattr(outcome, kind)).count}


def test_equal_sites_are_compared_in_a_few_questions(compare: Callable[..., Outcome]) -> None:
    outcome = compare()
    assert listed(outcome) == {}
    assert (outcome.compared, outcome.there) == (IMAGES, IMAGES)
    assert outcome.requests == 2


def test_each_difference_is_named(here: Site, there: Site, compare: Callable[..., Outcome]) -> None:
    there.run("delete from attachedfiles where uuid in (select uuid::text from made where n % 50 = 1)")
    there.run("update hapacs.object set size = size + 1 where uuid in (select uuid from made where n % 50 = 2)")
    digest = "decode(repeat('ab', 32), 'hex')"
    there.run(f"update hapacs.object set digest = {digest} where uuid in (select uuid from made where n % 50 = 3)")  # noqa: S608
    there.run("update hapacs.instance set study = '9' where uuid in (select uuid from made where n % 50 = 4)")
    here.run("delete from attachedfiles where uuid in (select uuid::text from made where n % 50 = 5)")
    # The same UID once more, as of another patient.
    there.add(next(iter(there.sops("n = 6"))))
    there.run("update hapacs.instance set study = '1.2.826.0.1.0' where study = '1.2.3'")
    outcome = compare()
    assert listed(outcome) == {
        "only_here": here.sops("n % 50 in (1, 4)"),
        "different": here.sops("n % 50 in (2, 3) or n = 6"),
        "only_there": here.sops("n % 50 in (4, 5)"),
    }
    # Ranges were divided: far fewer images were listed than the ranges have.
    assert outcome.requests < 60


@pytest.mark.parametrize("empty", ["here", "there"])
def test_an_empty_site_lacks_all(sites: tuple[Site, Site], empty: str, compare: Callable[..., Outcome]) -> None:
    sites[empty == "there"].run("truncate hapacs.instance")
    outcome = compare(most=7)
    lacking = outcome.only_there if empty == "here" else outcome.only_here
    assert (lacking.count, len(lacking.images), outcome.differences) == (IMAGES, 7, IMAGES)


def test_only_acknowledged_images_count(here: Site, there: Site, compare: Callable[..., Outcome]) -> None:
    here.add("1.1", caller="title:HAPACS_PROBE")
    there.add("1.2", caller="user:hapacs-probe")
    there.add("1.3", indexed=False)
    here.add("1.4", caller=None)
    here.add("1.5")
    here.run("update hapacs.object set tombstoned_at = now(), tombstoned_by = 'x' where uuid in "
             "(select uuid from hapacs.instance where sop = '1.5')")  # fmt: skip
    assert listed(compare()) == {"only_here": {"1.4"}}


def test_images_under_way_are_not_missing(here: Site, there: Site, compare: Callable[..., Outcome]) -> None:
    for sop in ("1.1", "1.2", "1.3", "1.4"):
        here.add(sop)
    here.task("1.1", "waiting", "HTTP status 503")
    here.task("1.2", "dead", "no")
    here.run("insert into hapacs.event (uuid, node) select uuid, 'pacs1' from hapacs.instance where sop = '1.3'")
    here.task("1.4", "confirmed")
    here.add("1.6", digest="cd" * 32)
    here.task("1.6", "waiting")
    there.add("1.6")
    outcome = compare()
    assert listed(outcome) == {"waiting": {"1.1", "1.3", "1.6"}, "only_here": {"1.2", "1.4"}}
    assert outcome.only_here.images == {"1.2": "set aside: no", "1.4": "confirmed"}
    assert outcome.waiting.images["1.1"] == "HTTP status 503"


@pytest.mark.parametrize("past", [True, False])
def test_images_of_the_past_wait_or_are_left_out(here: Site, past: bool, compare: Callable[..., Outcome]) -> None:
    here.add("1.1")
    here.run("insert into hapacs.replication (destination) values ('second site')")
    here.add("1.2")
    expected = {"waiting": {"1.1"}} if past else {"left_out": {"1.1"}}
    assert listed(compare(past=past)) == {**expected, "only_here": {"1.2"}}


def test_a_deleted_image_is_told_apart(here: Site, there: Site, compare: Callable[..., Outcome]) -> None:
    for site in (here, there):
        site.add("1.1")
    here.run("insert into hapacs.removal (uuid, reason, study, series, sop) "
             "select uuid, 'removed', study, series, sop from hapacs.instance where sop = '1.1'")  # fmt: skip
    here.run("delete from hapacs.instance where sop = '1.1'")
    outcome = compare()
    assert listed(outcome) == {"deleted_here": {"1.1"}}
    assert not outcome.differences


def test_what_comes_meanwhile_is_no_difference(here: Site, there: Site) -> None:
    here.add("1.1")
    there.add("1.2")
    real = post(there)

    def answer(content: bytes) -> bytes:
        if b'"named"' in content:
            # Between the two looks the copy arrives, and an image that came first there is in this index too.
            there.add("1.1")
            here.add("1.2")
        return real(content)

    assert listed(Comparison(here.database, There(answer), pause_s=0).run()) == {}


def test_one_study_is_compared(here: Site, there: Site, compare: Callable[..., Outcome]) -> None:
    here.add("1.1")
    there.run("delete from attachedfiles where uuid in (select uuid::text from made where n = 1)")
    outcome = compare(study="1.2.3")
    assert listed(outcome) == {"only_here": {"1.1"}}
    assert outcome.compared == 1


def test_a_range_with_too_many_images_is_not_listed(there: Site) -> None:
    with pytest.raises(NodeError, match="more than 200 images"):
        Here(there.database).images("", None, None)


def test_a_comparison_can_not_write(there: Site) -> None:
    connection = cast("Connection", there.connection)
    with pytest.raises(ReadOnlySqlTransaction):
        comparison._read(connection, "insert into hapacs.event (uuid, node) values (gen_random_uuid(), 'a')", {})


def test_the_command_asks_the_second_site(  # noqa: PLR0917 - fixtures
    here: Site,
    there: Site,
    configure: Callable[[str], Settings],
    names: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hapacs_node.cli.comparison.PAUSE_S", 0.0)
    authority = Authority(tmp_path / "pki", "replica", "passphrase-of-the-test")
    authority.ensure()
    signed, key = certificate(authority, tmp_path, "dr1", "server")
    for file, name in zip(certificate(authority, tmp_path, "pacs1", "client"), ("crt", "key"), strict=True):
        shutil.copy(file, tmp_path / f"replica.{name}")
    shutil.copy(authority.certificate_file, tmp_path / "ca-replica.crt")
    server = Replicas({RANGES_PATH: Ranges(there.database).answer})
    port = server.start(Listener("127.0.0.1", 0, signed, key, authority.certificate_file))
    configure(names["here"])
    document = {"second_site": {"name": "dr", "url": f"https://127.0.0.1:{port}"}}
    here.database.run(lambda c: ruleset.load(c, document, [replication.LANE], active=True, by="test"))
    words = ["replication", "compare", "--config", str(tmp_path / "node.json"), "--tls", str(tmp_path), "--json"]
    try:
        done = CliRunner().invoke(app, words)
        assert (done.exit_code, json.loads(done.stdout)["equal"]) == (0, True), done.output
        here.add("1.1")
        assert "another node" in CliRunner().invoke(app, [*words, "--daily"]).stdout
        done = CliRunner().invoke(app, words)
    finally:
        server.running.stop()
    report = json.loads(done.stdout)
    noted = here.connection.execute("select compared, counts ->> 'only_here' from hapacs.comparison").fetchone()
    assert noted == (IMAGES + 1, "1")
    assert (done.exit_code, report["equal"], report["only_here"]) == (1, False, ["1.1"])
    assert (report["compared"], report["there"], report["counts"]["only_here"]) == (IMAGES + 1, IMAGES, 1)


@pytest.mark.parametrize(
    "question",
    [
        {"ask": "rows"},
        {"ask": "bounds"},
        {"ask": "bounds", "start": "a\0b"},
        {"ask": "ranges", "bounds": []},
        {"ask": "ranges", "bounds": ["1"] * 201},
        {"ask": "named", "sops": ["1"] * 501},
        {"ask": "images", "start": "", "limit": 5},
    ],
)
def test_a_bad_question_is_refused(question: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        QUESTION.validate_json(json.dumps(question))


def test_one_node_compares_in_a_day(here: Site) -> None:
    def begin(every_s: float | None = 100) -> bool:
        return here.database.run(lambda c: compared.begin(c, every_s))

    assert begin()
    # Another node is at it; an operator may compare at any time.
    assert not begin()
    assert begin(None)
    here.run("update hapacs.comparison set began_at = now() - interval '7 hours'")
    assert begin()
    here.database.run(lambda c: compared.end(c, 5, {"only_here": 1}))
    assert not begin()
    here.run("update hapacs.comparison set began_at = now() - interval '200 s', ended_at = now() - interval '199 s'")
    assert begin()
    # It failed: the next node tries.
    here.database.run(compared.release)
    assert begin()


def test_the_last_comparison_is_a_metric(here: Site) -> None:
    metrics = Metrics()
    shown = Shown(metrics)

    def values() -> dict[str, float]:
        shown.set(None, here.database.run(compared.last))
        found = [sample for family in metrics.registry.collect() for sample in family.samples]
        return {sample.labels.get("kind", "at"): sample.value for sample in found if "replication" in sample.name}

    assert values() == {}
    here.run("insert into hapacs.replication (destination, since) values ('second site', to_timestamp(1000))")
    assert values() == {"at": 1000, "only_here": 0, "only_there": 0, "different": 0}
    here.database.run(lambda c: compared.begin(c, None))
    here.database.run(lambda c: compared.end(c, 5, {"only_here": 3, "waiting": 4}))
    here.run("update hapacs.comparison set ended_at = to_timestamp(2000)")
    assert values() == {"at": 2000, "only_here": 3, "only_there": 0, "different": 0}
