"""Two sites are compared by digests of ranges: two databases of a real PostgreSQL, and the real server between them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from psycopg.errors import ReadOnlySqlTransaction
from typer.testing import CliRunner

from hapacs.pki import Authority
from hapacs_node.catalog import compared, comparison, replication, ruleset
from hapacs_node.catalog.database import Connection
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
from tests.storage.servers import Postgres
from tests.storage.two_sites import HERE, IMAGES, Site, configure, post, two_sites
from tests.unit.node.certificates import certificate

pytestmark = pytest.mark.timeout(200)


@pytest.fixture
def sites(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Site, Site]]:
    monkeypatch.setattr("hapacs_node.replication.ranges.STEP", 100)
    monkeypatch.setattr("hapacs_node.replication.ranges.MOST_IMAGES", 200)
    with two_sites(postgres, tmp_path) as found:
        yield found


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


def test_copies_of_the_images_of_probes_are_left_out(here: Site, there: Site, compare: Callable[..., Outcome]) -> None:
    here.add("1.1", caller="title:HAPACS_PROBE")
    there.add("1.1", caller="user:hapacs-replica")
    for site in (here, there):
        site.run(
            "insert into hapacs.study (uid, patient_id, accession, date, time, shown, found) "
            "values ('1.2.3', 'HAPACS-PROBE', '', '', '', '{}', '{}')"
        )
    outcome = compare()
    assert (listed(outcome), outcome.compared, outcome.there) == ({}, IMAGES, IMAGES)


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
    here.run("insert into hapacs.replication (destination) values ('other site')")
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


def test_the_command_asks_the_second_site(
    here: Site,
    there: Site,
    postgres: Postgres,
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
    configure(postgres, tmp_path, HERE)
    document = {"second_site": {"name": "dr", "url": f"https://127.0.0.1:{port}"}}
    here.database.run(lambda c: ruleset.load(c, document, [replication.LANE], active=True, by="test"))
    words = [
        "replication",
        "compare",
        "--config",
        str(tmp_path / "node.json"),
        "--tls",
        str(tmp_path),
        "--locks",
        "0",
        "--json",
    ]
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
    here.database.run(lambda c: compared.end(c, 5, {"only_here": 1}, "1.2"))
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
        shown.set(None, here.database.run(compared.last), None)
        found = [sample for family in metrics.registry.collect() for sample in family.samples]
        return {sample.labels.get("kind", "at"): sample.value for sample in found if "replication" in sample.name}

    assert values() == {}
    here.run("insert into hapacs.replication (destination, since) values ('other site', to_timestamp(1000))")
    assert values() == {"at": 1000, "only_here": 0, "only_there": 0, "different": 0}
    here.database.run(lambda c: compared.begin(c, None))
    here.database.run(lambda c: compared.end(c, 5, {"only_here": 3, "waiting": 4}, ""))
    here.run("update hapacs.comparison set ended_at = to_timestamp(2000)")
    assert values() == {"at": 2000, "only_here": 3, "only_there": 0, "different": 0}
