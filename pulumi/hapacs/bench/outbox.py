"""What a million images that wait for a destination cost those that are stored and those that are claimed.

With made rows in a PostgreSQL of this machine: the same tables with few and with many waiting tasks take turns, so that
the noise of the machine meets both. What a store writes for routing is measured, not a whole C-STORE, of which it is a
part: the ratio of whole C-STOREs is nearer to 1.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any
from uuid import uuid4

from hapacs.bench import scratch
from hapacs.bench.scratch import Scratch
from hapacs.bench.statistics import Series, percentile, ratio
from hapacs_node.catalog import claims, ruleset, schema, tasks
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.claims import Terms
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.catalog.tasks import Lane
from hapacs_node.metrics import Metrics
from hapacs_node.outbox.answers import Ended
from hapacs_node.settings import Database as DatabaseSettings

LEAST_RATIO, MOST_CLAIM_S = 0.95, 0.05
"""Rate of stores with many waiting tasks to that with few; p99 of a claim."""
FEW = 2_000
_STORES = 200
# As the service claims: a batch at a time, on two of the nodes at once.
_CLAIMERS, _BATCH, _LEASE_S = 2, 100, 60
_WAITS, _LIVE = Lane("route", "waits"), Lane("route", "live")
_RULES = {"destinations": {"waits": {}, "live": {}}, "rules": []}

# Two priorities, and times that are spread over a day.
_FILL = """
insert into hapacs.object (uuid, digest, size, type, store, key, "offset", length, node, stored_at)
select gen_random_uuid(), sha256(n::text::bytea), 500000, 1, 'cas', encode(sha256(n::text::bytea), 'hex'), 0, 500000,
    'pacs' || 1 + n % 3, now() - interval '1 day'
from generate_series(1, {count}) as n;
insert into hapacs.task (kind, destination, uuid, study, series, sop, sop_class, transfer_syntax, size, node, rule,
    priority, due_at)
select 'route', case when row_number() over () <= {live} then 'live' else 'waits' end, uuid,
    '2.25.' || row_number() over () / 500, '2.25.' || row_number() over () / 100, '2.25.' || row_number() over (),
    '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1', size, node, 'all', 1 + row_number() over () % 2,
    now() - interval '1 day' * random()
from hapacs.object;
analyze;
"""


def run(rows: int, on_step: Callable[[str], None], rounds: int = 15, claims: int = 100) -> dict[str, Any]:
    """Fill two databases, and measure in turns.

    Parameters
    ----------
    rows
        Waiting tasks in the full one.
    on_step
        Takes what is done now.
    rounds
        Measured rounds of stores.
    claims
        Of each claimer, for each destination.

    Returns
    -------
    dict
        Stores a second with few and with many waiting tasks and their ratio, and times of claims in seconds.

    Raises
    ------
    HapacsError
        When PostgreSQL does not run here.
    """
    with scratch.postgres() as server, ExitStack() as opened:
        with server.connect() as connection:
            connection.execute("create database few")
        on_step(f"{rows:,} tasks are made")
        few = opened.enter_context(_filled(server, "few", FEW))
        many = opened.enter_context(_filled(server, "pacs", rows))
        on_step("images are stored, with few and with many waiting tasks")
        rates: dict[str, list[float]] = {"few": [], "many": []}
        for number in range(rounds + 1):
            sides = [("few", few), ("many", many)]
            for name, database in sides if number % 2 else reversed(sides):
                rate = _stores(database)
                # The first round fills the caches.
                if number:
                    rates[name].append(rate)
        on_step("tasks are claimed")
        took = {
            "few": _claims(few, _LIVE, claims),
            "many": _claims(many, _WAITS, claims),
            "beside_many": _claims(many, _LIVE, claims),
        }
    found = ratio(Series(tuple(rates["many"])), Series(tuple(rates["few"])))
    slowest = max(percentile(took[name], 99) for name in ("many", "beside_many"))
    return {
        "rows": rows,
        "stores": {name: {"rate": Series(tuple(values)).median, "rounds": values} for name, values in rates.items()},
        "ratio": found,
        "claims": {
            name: {"count": len(times), "p50_s": percentile(times, 50), "p99_s": percentile(times, 99)}
            for name, times in took.items()
        },
        "within": found >= LEAST_RATIO and slowest < MOST_CLAIM_S,
    }


def _filled(server: Scratch, name: str, rows: int) -> Database:
    database = Database(DatabaseSettings.model_validate(server.settings(name)), Metrics())
    schema.migrate(database)
    # Rules are active: each stored image leaves an event.
    lanes = [_WAITS, _LIVE]
    database.run(lambda connection: ruleset.load(connection, dict(_RULES), lanes, active=True, by="bench"))
    with server.connect(name) as connection:
        connection.execute(_FILL.format(count=rows, live=FEW).encode())
        connection.execute("vacuum analyze")
    return database


def _stores(database: Database) -> float:
    catalog = Catalog(database)
    images = [_image() for _ in range(_STORES)]
    began = time.monotonic()
    for image in images:
        catalog.add_all([image])
    return _STORES / (time.monotonic() - began)


def _image() -> StoredObject:
    uuid = uuid4()
    digest = hashlib.sha256(uuid.bytes).hexdigest()
    return StoredObject(uuid, digest, 500_000, 1, "cas", f"sha256/{digest}", 0, 500_000, "pacs1")


def _claims(database: Database, lane: Lane, count: int) -> list[float]:
    def claimed(number: int) -> list[float]:
        node, times = f"pacs{1 + number % 3}", []
        for turn in range(count):
            holder = f"{node}:{number}-{turn}"
            ask = partial(claims.claim, lane=lane, terms=Terms(holder, node, _BATCH, _CLAIMERS, _LEASE_S))
            began = time.monotonic()
            claim = database.run(ask)
            times.append(time.monotonic() - began)
            # They wait again, behind the others.
            ends = [Ended(task.id, "waiting", "measured") for task in claim.tasks]
            database.run(partial(tasks.end, holder=holder, ended=ends))
        return times

    with ThreadPoolExecutor(_CLAIMERS) as claimers:
        return [time_s for times in claimers.map(claimed, range(_CLAIMERS)) for time_s in times]
