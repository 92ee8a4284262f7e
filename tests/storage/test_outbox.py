"""Events, tasks, claims and leases on a real PostgreSQL."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest

from hapacs_node.catalog import claims, events, ruleset, tasks
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.claims import Claim, Terms
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.tasks import Lane, Wanted
from hapacs_node.node import Node
from hapacs_node.outbox import answers
from tests.storage.conftest import row
from tests.storage.servers import Postgres

CT, READING = Lane("route", "workstation"), Lane("route", "reading")


@pytest.fixture
def database(node: Node, postgres: Postgres) -> Iterator[Database]:
    """A catalog with two destinations and active rules."""
    tables = "hapacs.task, hapacs.event, hapacs.destination, hapacs.ruleset, hapacs.unmatched"
    with postgres.connect() as connection:
        connection.execute(f"truncate {tables}")
    node.database.run(lambda c: ruleset.load(c, {"rules": []}, [CT, READING], active=True, by="test"))
    yield node.database
    with postgres.connect() as connection:
        connection.execute(f"truncate {tables}")


def wanted(uuid: UUID, lane: Lane = CT, priority: int = 1, delay_s: float = 0) -> Wanted:
    return Wanted(
        uuid, lane, "1.2", "1.2.3", str(uuid.int), "1.2.840.1", "1.2.840.2", 12, "pacs1", "all-ct", priority, delay_s
    )


def store(database: Database, *lanes: Lane, priority: int = 1, delay_s: float = 0) -> UUID:
    """Store an image, and plan its tasks."""
    uuid = uuid4()
    Catalog(database).add(row(uuid))
    made = [wanted(uuid, lane, priority, delay_s) for lane in lanes]
    assert database.run(lambda c: tasks.plan(c, [uuid], made, [] if made else [uuid])) == 1
    return uuid


def claim(
    database: Database, lane: Lane = CT, holder: str = "", *, limit: int = 10, parallel: int = 9, lease_s: float = 30
) -> Claim:
    name = holder or f"pacs1:{uuid4()}"
    return database.run(lambda c: claims.claim(c, lane, Terms(name, "pacs1", limit, parallel, lease_s)))


def states(postgres: Postgres) -> dict[UUID, tuple[str, str, int]]:
    with postgres.connect() as connection:
        found: list[Any] = connection.execute("select uuid, state, reason, attempts from hapacs.task").fetchall()
    return {uuid: (state, reason, attempts) for uuid, state, reason, attempts in found}


def expire(postgres: Postgres) -> None:
    """End every lease, as if its time had passed."""
    with postgres.connect() as connection:
        connection.execute("update hapacs.task set leased_until = now() - interval '1 s' where state = 'in flight'")


def test_each_image_has_one_task_for_each_destination_however_often_it_is_planned(
    database: Database, postgres: Postgres
) -> None:
    uuid = store(database, CT, READING)
    # A repeated store after a lost acknowledgement makes another event.
    Catalog(database).add(row(uuid))
    again = [wanted(uuid), wanted(uuid, READING)]
    assert database.run(lambda c: tasks.plan(c, [uuid], again, [])) == 1
    # The second planner of the same event adds nothing.
    assert database.run(lambda c: tasks.plan(c, [uuid], [wanted(uuid, Lane("route", "third"))], [uuid])) == 0
    with postgres.connect() as connection:
        found = connection.execute("select destination from hapacs.task order by 1").fetchall()
        assert connection.execute("select count(*) from hapacs.event").fetchone() == (0,)
    assert found == [("reading",), ("workstation",)]


def test_images_that_no_rule_matches_are_counted(database: Database, postgres: Postgres) -> None:
    for _ in range(3):
        store(database)
    with postgres.connect() as connection:
        assert connection.execute("select images from hapacs.unmatched").fetchall() == [(3,)]


def test_workers_at_the_same_time_claim_different_tasks(database: Database) -> None:
    stored = {store(database, CT) for _ in range(40)}
    with ThreadPoolExecutor(8) as threads:
        claims = list(threads.map(lambda _: claim(database, limit=5), range(8)))
    claimed = [task.uuid for one in claims for task in one.tasks]
    assert len(claimed) == 40
    assert set(claimed) == stored


def test_no_more_workers_than_allowed_hold_tasks_of_a_destination(database: Database) -> None:
    for _ in range(20):
        store(database, CT, READING)
    with ThreadPoolExecutor(8) as threads:
        claims = list(threads.map(lambda _: claim(database, limit=1, parallel=2), range(8)))
    assert sum(len(one.tasks) for one in claims) == 2
    assert claim(database, READING, limit=1, parallel=2).tasks


def test_urgent_tasks_are_before_bulk_and_later_ones_wait(database: Database) -> None:
    bulk = [store(database, CT, priority=2) for _ in range(3)]
    urgent = store(database, CT, priority=0)
    store(database, CT, priority=0, delay_s=60)
    assert [task.uuid for task in claim(database).tasks] == [urgent, *bulk]


def test_a_task_is_taken_over_after_the_lease_of_a_dead_worker(database: Database, postgres: Postgres) -> None:
    uuid = store(database, CT)
    assert claim(database, holder="pacs1:dead").tasks
    assert database.run(tasks.lapse) == 0
    assert not claim(database).tasks
    expire(postgres)
    assert database.run(tasks.lapse) == 1
    assert states(postgres)[uuid] == ("waiting", "the lease of pacs1:dead ended without an answer", 1)
    (task,) = claim(database).tasks
    assert (task.uuid, task.attempts) == (uuid, 2)


def test_a_renewed_lease_is_not_taken_over(database: Database, postgres: Postgres) -> None:
    store(database, CT)
    claim(database, holder="pacs1:slow")
    expire(postgres)
    assert database.run(lambda c: tasks.renew(c, CT, "pacs1:slow", 30)) == 1
    assert database.run(tasks.lapse) == 0


def test_the_end_is_recorded_once_and_counted_once(database: Database, postgres: Postgres) -> None:
    uuids = [store(database, CT) for _ in range(3)]
    claimed = claim(database, holder="h").tasks
    ended = [
        answers.judge(claimed[0].id, 1, 0x0000),
        answers.judge(claimed[1].id, 1, 0xC000, "no"),
        answers.judge(claimed[2].id, 1, 0xA700),
    ]
    assert database.run(lambda c: tasks.end(c, "h", ended)) == {task.id for task in claimed}
    assert database.run(lambda c: tasks.end(c, "h", ended)) == set()
    found = states(postgres)
    assert [found[uuid] for uuid in uuids] == [
        ("confirmed", "", 1),
        ("dead", "status 0xC000: no", 1),
        ("waiting", "status 0xA700", 1),
    ]
    assert not claim(database).tasks
    with postgres.connect() as connection:
        counts = connection.execute(
            "select confirmed, confirmed_bytes from hapacs.destination where name = 'workstation'"
        ).fetchone()
    assert counts == (1, 12)


def test_a_late_confirmation_counts_and_any_other_late_answer_does_not(database: Database, postgres: Postgres) -> None:
    confirmed, refused = store(database, CT), store(database, CT)
    ids = {task.uuid: task.id for task in claim(database, holder="late").tasks}
    expire(postgres)
    database.run(tasks.lapse)
    claim(database, holder="second")
    late = [answers.judge(ids[confirmed], 1, 0x0000), answers.judge(ids[refused], 1, 0xC000)]
    assert database.run(lambda c: tasks.end(c, "late", late)) == {ids[confirmed]}
    found = states(postgres)
    assert found[confirmed][0] == "confirmed"
    assert found[refused][0] == "in flight"


def test_tasks_that_were_not_sent_keep_their_attempts_and_place(database: Database, postgres: Postgres) -> None:
    uuid = store(database, CT)
    (task,) = claim(database, holder="h").tasks
    database.run(lambda c: tasks.end(c, "h", [answers.untried(task.id)]))
    assert states(postgres)[uuid] == ("waiting", "", 0)
    assert [one.uuid for one in claim(database).tasks] == [uuid]


def test_a_destination_that_failed_rests_then_one_worker_tries_one_task(database: Database, postgres: Postgres) -> None:
    for _ in range(5):
        store(database, CT, READING)
    database.run(lambda c: tasks.failed(c, CT, "connection refused", 60))
    assert claim(database).tasks == ()
    assert len(claim(database, READING).tasks) == 5
    with postgres.connect() as connection:
        connection.execute("update hapacs.destination set retry_at = now()")
    first, second = claim(database, holder="first"), claim(database)
    assert (len(first.tasks), first.failures) == (1, 1)
    assert second.tasks == ()
    database.run(lambda c: tasks.answered(c, CT))
    assert len(claim(database).tasks) == 4


def test_another_node_leaves_new_tasks_to_the_node_that_has_the_image(database: Database, postgres: Postgres) -> None:
    store(database, CT)

    def other() -> Claim:
        return database.run(lambda c: claims.claim(c, CT, Terms("pacs2:o", "pacs2", 9, 9, 30)))

    assert other().tasks == ()
    with postgres.connect() as connection:
        connection.execute("update hapacs.task set due_at = due_at - interval '6 seconds'")
    assert len(other().tasks) == 1


def test_a_node_that_works_for_a_destination_keeps_its_images_and_others_take_theirs(
    database: Database, postgres: Postgres
) -> None:
    ours = [store(database, CT) for _ in range(4)]
    theirs = [store(database, CT) for _ in range(3)]
    with postgres.connect() as connection:
        connection.execute("update hapacs.task set due_at = due_at - interval '60 seconds'")
        connection.execute("update hapacs.task set node = 'pacs2' where uuid = any(%s)", [theirs])

    def by(node: str, limit: int) -> list[UUID]:
        terms = Terms(f"{node}:{uuid4()}", node, limit, 9, 30)
        return [task.uuid for task in database.run(lambda c: claims.claim(c, CT, terms)).tasks]

    assert by("pacs1", 1) == ours[:1]
    # That node is at work: what it has on its DAS is left to it, whatever waits longer.
    assert by("pacs2", 1) == theirs[:1]
    assert by("pacs3", 9) == []
    assert by("pacs1", 9) == ours[1:]
    assert by("pacs2", 9) == theirs[1:]
    # Its lease has ended, and with it what was its own.
    with postgres.connect() as connection:
        connection.execute("update hapacs.task set leased_until = now() - interval '1 second'")
    assert database.run(tasks.lapse) == 7
    assert by("pacs3", 9) == [*ours, *theirs]


def test_without_its_worker_the_images_of_a_node_come_in_their_order(database: Database, postgres: Postgres) -> None:
    stored = [store(database, CT) for _ in range(6)]
    with postgres.connect() as connection:
        connection.execute("update hapacs.task set due_at = due_at - interval '60 seconds'")
        connection.execute("update hapacs.task set node = 'pacs2' where uuid = any(%s)", [stored[::2]])
    assert [task.uuid for task in claim(database, limit=4).tasks] == stored[:4]


def test_events_are_claimed_once_and_again_after_their_planner_died(database: Database, postgres: Postgres) -> None:
    stored = [uuid4() for _ in range(3)]
    for uuid in stored:
        Catalog(database).add(row(uuid))

    def planner() -> list[UUID]:
        return [event.uuid for event in database.run(lambda c: events.claim(c, "pacs1", 10, 60))]

    assert sorted(planner()) == sorted(stored)
    assert planner() == []
    with postgres.connect() as connection:
        connection.execute("update hapacs.event set due_at = due_at - interval '61 seconds'")
    assert sorted(planner()) == sorted(stored)


def test_only_images_in_the_index_are_described(database: Database, study: str, postgres: Postgres) -> None:
    with postgres.connect() as connection:
        uuids = [
            UUID(str(uuid))
            for (uuid,) in connection.execute(
                "select file.uuid from attachedfiles file join resources i on i.internalid = file.id "
                "join resources s on s.internalid = i.parentid join dicomidentifiers d on d.id = s.parentid "
                "where file.filetype = 1 and d.value = %s",
                [study],
            )
        ]
    orphan = uuid4()
    Catalog(database).add(row(orphan))
    found = database.run(lambda c: events.images(c, [*uuids, orphan]))
    assert {image.uuid for image in found} == set(uuids)
    assert {image.study for image in found} == {study}


def test_the_same_rules_are_loaded_once_and_an_empty_set_ends_the_events(database: Database) -> None:
    document = {"rules": [{"name": "a"}]}
    before = database.run(ruleset.version)
    assert database.run(lambda c: ruleset.load(c, document, [], active=True, by="test"))
    assert not database.run(lambda c: ruleset.load(c, document, [], active=True, by="test"))
    assert database.run(ruleset.current) == (before + 1, document)
    assert database.run(lambda c: ruleset.load(c, {}, [], active=False, by="test"))
    Catalog(database).add(row(uuid4()))
    assert database.run(lambda c: events.claim(c, "pacs1", 10, 30)) == []


FILL = """
insert into hapacs.object (uuid, digest, size, type, store, key, "offset", length, node)
select ('00000000-0000-0000-0001-' || lpad(n::text, 12, '0'))::uuid, sha256(n::text::bytea), 12, 1, 'cas', 'k', 0, 12,
       'pacs1'
from generate_series(1, {count}) as n on conflict do nothing;
insert into hapacs.task (kind, destination, uuid, study, series, sop, sop_class, transfer_syntax,
    size, node, rule, priority)
select 'route', 'workstation', ('00000000-0000-0000-0001-' || lpad(n::text, 12, '0'))::uuid, '1.' || n / 500,
       '1.' || n / 250, '1.' || n, '1.2.840.1', '1.2.840.2', 12, 'pacs1', 'all-ct', 1 + n % 2
from generate_series(1, {count}) as n;
analyze hapacs.task;
"""


@pytest.mark.timeout(600)
def test_a_claim_reads_an_index_and_no_other_task_when_many_wait(database: Database, postgres: Postgres) -> None:
    with postgres.connect() as connection:
        for statement in FILL.format(count=50_000).split(";"):
            if statement.strip():
                connection.execute(statement)
    assert len(claim(database, limit=50).tasks) == 50
    for choose in (claims._NODES, claims._CHOOSE):
        plan = _plan(postgres, choose)
        assert "task_of_node" in plan
        assert "Seq Scan" not in plan
        # One is the end of the list of nodes.
        removed = [int(number) for number in re.findall(r"Rows Removed by Filter: (\d+)", plan)]
        assert sum(removed) <= 1, "tasks of other nodes were looked at"


def _plan(postgres: Postgres, choose: str) -> str:
    parameters = {
        "kind": "route",
        "destination": "workstation",
        "priority": 1,
        "nodes": ["pacs2", "pacs3"],
        "limit": 50,
    }
    with postgres.connect() as connection:
        found = connection.execute(f"explain analyze {choose}", parameters | {"after": [0.0, 5.0]}).fetchall()
    return "\n".join(str(line) for (line,) in found)
