"""A destination that comes and goes for a day. Time passes by moving the database's times back; all else is real."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from hapacs_node.catalog import outbox
from hapacs_node.catalog.outbox import Selection
from hapacs_node.node import Node
from hapacs_node.outbox.backoff import DESTINATION
from hapacs_node.routing.service import Service
from tests.storage.routed import ALL_CT, counts, image, load, run_until, store
from tests.storage.servers import Postgres, free_ports, wait_until
from tests.support.storescp import PROGRAM, StoreScp

pytestmark = [pytest.mark.skipif(PROGRAM is None, reason="dcmtk is not installed"), pytest.mark.timeout(900)]
DAY_S, STEP_S, IMAGE_EVERY_S = 24 * 3600, 300, 900
# Up or down for this long on average, and at least a step.
MEAN_S = 2700
_PASS = (
    "update hapacs.destination set retry_at = retry_at - make_interval(secs => %s)",
    "update hapacs.event set due_at = due_at - make_interval(secs => %s)",
    "update hapacs.task set due_at = due_at - make_interval(secs => %s)",
)


@pytest.fixture
def scp(tmp_path: Path) -> Iterator[StoreScp]:
    # A file for each time that an image arrives.
    server = StoreScp(free_ports(1)[0], tmp_path / "received", options=("+uf",))
    yield server
    server.stop()


def schedule() -> Iterator[tuple[bool, int]]:
    """Return whether the destination is up, and for how many steps, until the day is over."""
    random_, left, up = random.Random(7), DAY_S // STEP_S, False  # noqa: S311 - a seed, to repeat a failure
    while left > 0:
        steps = min(left, 1 + int(random_.expovariate(STEP_S / MEAN_S)))
        yield up, steps
        left, up = left - steps, not up


def test_a_destination_that_flaps_for_a_day_gets_every_image(
    site: Node, services: Callable[[], Service], scp: StoreScp, postgres: Postgres
) -> None:
    load(site, scp, ALL_CT)
    service, sent, flips, step = services(), set(), 0, 0
    for up, steps in schedule():
        (scp.start if up else scp.stop)()
        flips += 1
        for _ in range(steps):
            if step % (IMAGE_EVERY_S // STEP_S) == 0:
                sop, content = image()
                store(site, postgres, content)
                sent.add(sop)
            step += 1
            service.step()
            wait_until(lambda: service.idle and counts(site)["in flight"] == 0, "the end of the step", 60)
            with postgres.connect() as connection:
                for statement in _PASS:
                    connection.execute(statement, [STEP_S])
        # Longer than the longest pause: nothing is left behind.
        assert not (up and steps * STEP_S > 2 * DESTINATION.most_s) or counts(site)["waiting"] == 0
    assert flips > DAY_S / MEAN_S / 2
    scp.stop()
    scp.start()
    site.database.run(lambda c: outbox.intervene(c, "retry", Selection("peer"), "op", "the day is over"))
    run_until(service, lambda: counts(site)["confirmed"] == len(sent), "the confirmations")
    assert {state: count for state, count in counts(site).items() if count} == {"confirmed": len(sent)}
    arrived = Counter(str(dcmread(path, force=True).SOPInstanceUID) for path in scp.directory.iterdir())
    attempts = {
        task.sop: task.attempts for task in site.database.run(lambda c: outbox.tasks(c, Selection(), "confirmed", 1000))
    }
    assert set(arrived) == set(attempts) == sent
    assert all(arrived[sop] <= attempts[sop] for sop in sent)
