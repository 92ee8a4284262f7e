"""Studies and series are complete once for the cluster: after a quiet time, and again for images that come later."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from hapacs_node.catalog import commitment, gathering, outbox, ruleset, tasks
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.commitment import Referenced
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.gathering import Level, Touched
from hapacs_node.catalog.outbox import Selection
from hapacs_node.catalog.tasks import Lane, Wanted
from hapacs_node.node import Node
from tests.storage.conftest import row
from tests.storage.servers import Postgres, wait_until

LANE = Lane("route", "workstation")
STUDY, SERIES = "1.2", "1.2.3"
QUIET_S = 0.5


@pytest.fixture
def database(node: Node, postgres: Postgres) -> Iterator[Database]:
    """A catalog with active rules and an empty outbox."""
    names = (
        "task",
        "event",
        "destination",
        "ruleset",
        "unmatched",
        "gathering",
        "completion",
        "commitment",
        "committed",
    )
    empty = f"truncate {', '.join(f'hapacs.{name}' for name in names)}"
    with postgres.connect() as connection:
        connection.execute(empty)
    node.database.run(lambda c: ruleset.load(c, {"rules": []}, [LANE], active=True, by="test"))
    yield node.database
    with postgres.connect() as connection:
        connection.execute(empty)


def stored(database: Database) -> UUID:
    uuid = uuid4()
    Catalog(database).add(row(uuid))
    return uuid


def wanted(uuid: UUID, gathers: Level | None, series: str = SERIES) -> Wanted:
    return Wanted(
        uuid, LANE, STUDY, series, str(uuid.int), "1.2.840.1", "1.2.840.2", 12, "pacs1", "r", 1, gathers=gathers
    )


def touched(*levels: Level, quiet_s: float = QUIET_S, series: str = SERIES) -> list[Touched]:
    uids = {"study": STUDY, "series": series}
    return [Touched(level, uids[level], STUDY, quiet_s) for level in levels]


def arrive(database: Database, level: Level = "study", quiet_s: float = QUIET_S, series: str = SERIES) -> UUID:
    """Store and plan an image of which the task waits for the end of its study or series."""
    uuid = stored(database)
    made, places = [wanted(uuid, level, series)], touched(level, quiet_s=quiet_s, series=series)
    assert database.run(lambda c: tasks.plan(c, [uuid], made, [], places)) == 1
    return uuid


def decide(database: Database) -> list[tuple[Level, str, int]]:
    return database.run(lambda c: gathering.complete(c, "pacs2"))


def decided(database: Database) -> list[tuple[Level, str, int]]:
    """Return the next decision."""
    found: list[tuple[Level, str, int]] = []

    def one() -> bool:
        found.extend(decide(database))
        return bool(found)

    wait_until(one, "the decision")
    return found


def states(database: Database) -> list[str]:
    found = database.run(lambda c: outbox.tasks(c, Selection(study=STUDY), None, 100))
    return [one.state for one in found]


def revisions(postgres: Postgres) -> dict[UUID, int | None]:
    with postgres.connect() as connection:
        return dict(connection.execute("select uuid, revision from hapacs.task").fetchall())  # type: ignore[arg-type]


def test_images_wait_until_none_came_for_the_quiet_time(database: Database, postgres: Postgres) -> None:
    first, second = arrive(database), arrive(database)
    assert decide(database) == []
    assert states(database) == ["gathering", "gathering"]
    assert decided(database) == [("study", STUDY, 1)]
    assert states(database) == ["waiting", "waiting"]
    assert revisions(postgres) == {first: 1, second: 1}
    [completion] = database.run(lambda c: gathering.of_study(c, STUDY))
    assert (completion.revision, completion.images, completion.node) == (1, 2, "pacs2")
    assert "quiet time" in completion.reason


def test_late_images_make_the_next_revision_and_are_sent_alone(database: Database, postgres: Postgres) -> None:
    first = arrive(database, quiet_s=0)
    assert decided(database) == [("study", STUDY, 1)]
    late = arrive(database, quiet_s=0)
    assert decided(database) == [("study", STUDY, 2)]
    assert revisions(postgres) == {first: 1, late: 2}
    found = database.run(lambda c: gathering.of_study(c, STUDY))
    assert [(one.revision, one.images) for one in found] == [(1, 1), (2, 1)]


def test_an_image_that_no_rule_wants_prolongs_its_study_but_opens_none(database: Database) -> None:
    alone = stored(database)
    database.run(lambda c: tasks.plan(c, [alone], [], [alone], touched("study", quiet_s=0)))
    assert decide(database) == []
    arrive(database, quiet_s=0)
    other = stored(database)
    database.run(lambda c: tasks.plan(c, [other], [], [other], touched("study", quiet_s=30)))
    assert decide(database) == []
    assert states(database) == ["gathering"]


def test_a_series_is_sent_before_its_study_is_complete(database: Database) -> None:
    arrive(database, "series", quiet_s=0)
    arrive(database, "study", quiet_s=30)
    assert decided(database) == [("series", SERIES, 1)]
    assert sorted(states(database)) == ["gathering", "waiting"]


def test_only_the_tasks_of_the_complete_series_are_released(database: Database, postgres: Postgres) -> None:
    one = arrive(database, "series", quiet_s=0)
    other = arrive(database, "series", quiet_s=30, series="1.2.4")
    assert decided(database) == [("series", SERIES, 1)]
    assert revisions(postgres) == {one: 1, other: None}


def test_nodes_that_decide_at_the_same_time_decide_once(database: Database) -> None:
    for number in range(20):
        arrive(database, "series", quiet_s=0, series=f"1.2.{number}")
    time.sleep(0.1)
    with ThreadPoolExecutor(4) as pool:
        found = [one for ones in pool.map(lambda _: decide(database), range(8)) for one in ones]
    assert sorted(uid for _, uid, _ in found) == sorted(f"1.2.{number}" for number in range(20))
    assert len(database.run(lambda c: gathering.of_study(c, STUDY))) == 20


def test_a_study_whose_image_is_being_planned_is_not_decided(database: Database, postgres: Postgres) -> None:
    arrive(database, quiet_s=0)
    late = stored(database)
    with postgres.connect() as connection:
        connection.autocommit = False
        tasks.plan(connection, [late], [wanted(late, "study")], [], touched("study", quiet_s=30))  # type: ignore[arg-type]
        assert decide(database) == []
        connection.commit()
    assert decide(database) == []
    assert states(database) == ["gathering", "gathering"]


def test_a_repeated_plan_counts_no_image_twice(database: Database) -> None:
    uuid = stored(database)
    for planned in (1, 0):
        again = database.run(lambda c: tasks.plan(c, [uuid], [wanted(uuid, "study")], [], touched("study", quiet_s=0)))
        assert again == planned
    decided(database)
    [completion] = database.run(lambda c: gathering.of_study(c, STUDY))
    assert completion.images == 1


def ask(database: Database, caller: str, *images: UUID) -> None:
    """Keep a request for storage commitment of images."""
    named = [Referenced("1.2.840.1", str(uuid.int)) for uuid in images]
    database.run(lambda c: commitment.add(c, caller, "HAPACS", f"2.25.{uuid4().int}", named))


def ended(database: Database, *callers: str) -> list[tuple[Level, str, int]]:
    return database.run(lambda c: gathering.complete(c, "pacs2", callers))


def test_a_request_that_names_all_images_ends_a_study_and_one_that_does_not_leaves_it(
    database: Database, postgres: Postgres
) -> None:
    first, second = arrive(database, quiet_s=60), arrive(database, quiet_s=60)
    ask(database, "CT1", first)
    assert ended(database, "CT1") == []
    ask(database, "CT1", first, second, uuid4())
    assert ended(database) == ended(database, "CT2") == []
    assert ended(database, "CT2", "CT1") == [("study", STUDY, 1)]
    assert states(database) == ["waiting", "waiting"]
    [completion] = database.run(lambda c: gathering.of_study(c, STUDY))
    assert completion.reason == "a request for storage commitment named its images"
    # The request is there for the next revision too, and does not name its image.
    late = arrive(database, quiet_s=60)
    assert ended(database, "CT1") == []
    ask(database, "CT1", late)
    assert ended(database, "CT1") == [("study", STUDY, 2)]
    assert revisions(postgres) == {first: 1, second: 1, late: 2}


def test_a_request_ends_only_the_series_that_it_names(database: Database, postgres: Postgres) -> None:
    one = arrive(database, "series", quiet_s=60)
    other = arrive(database, "series", quiet_s=60, series="1.2.4")
    ask(database, "CT1", one)
    assert ended(database, "CT1") == [("series", SERIES, 1)]
    assert revisions(postgres) == {one: 1, other: None}


def test_a_study_waits_while_an_image_of_the_request_is_not_compared_with_the_rules(
    database: Database, postgres: Postgres
) -> None:
    first, second = arrive(database, quiet_s=60), stored(database)
    with postgres.connect() as connection:
        described = (second, STUDY, SERIES, str(second.int))
        connection.execute(
            "insert into hapacs.instance (uuid, study, series, sop, sop_class, described_as, shown, found) "
            "values (%s, %s, %s, %s, '1.2.840.1', 'test', '{}', '{}')",
            described,
        )
    ask(database, "CT1", first, second)
    assert ended(database, "CT1") == []
    made = [wanted(second, "study")]
    database.run(lambda c: tasks.plan(c, [second], made, [], touched("study", quiet_s=60)))
    assert ended(database, "CT1") == [("study", STUDY, 1)]
    assert revisions(postgres) == {first: 1, second: 1}
