"""Priors of a new study's patient: their images go to the online copies of all nodes, and by wish to destinations.

What a destination has is not sent again: each of its tasks asks first. The tables say which studies were looked at, so
any node plans, and each node reads what is not on its DAS.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from uuid import UUID

from hapacs_node import log
from hapacs_node.catalog import prefetch, tasks
from hapacs_node.catalog.database import Connection, Database
from hapacs_node.catalog.prefetch import Prior
from hapacs_node.catalog.tasks import Lane
from hapacs_node.errors import NodeError
from hapacs_node.metrics import Metrics
from hapacs_node.routing import match
from hapacs_node.routing.image import parse
from hapacs_node.routing.match import Facts
from hapacs_node.routing.model import KIND, LANES, Prefetch, Routing

_LOG = log.get("prefetch")
# A node that was off for longer does not read what was wanted meanwhile: readers came before.
_WITHIN_S = 600.0
# Numbers are given before their rows are visible, so a lower one may come later.
_OVERLAP = 100


def wanted(routing: Routing, facts: Facts) -> list[Prefetch]:
    """Return for which reasons an image wants the priors of its patient."""
    return [
        one
        for one in routing.prefetch
        if all(match.holds(condition, facts) for condition in one.when)
        and not any(match.holds(condition, facts) for condition in one.unless)
    ]


@dataclass(frozen=True)
class Priors:
    """Plans the priors of new studies.

    Parameters
    ----------
    database : Database
        The catalog's.
    head : callable
        Returns the beginning of an attachment.
    """

    database: Database
    head: Callable[[UUID], bytes]

    def plan(self, studies: Mapping[tuple[str, str], Prefetch]) -> None:
        """Look for the priors of studies, by study and name of the wish; each once."""
        for (study, _), wish in studies.items():
            try:
                self._plan(study, wish)
            except NodeError as error:
                # Routing goes on. The next image of the study tries again.
                _LOG.warning(log.line("priors_not_planned", study=study, rule=wish.name, error=error))

    def _plan(self, study: str, wish: Prefetch) -> None:
        if self.database.run(lambda c: prefetch.is_known(c, study, wish.name)):
            return
        same = {"modality": "modality" in wish.same, "body_part": "body_part" in wish.same}
        found = self.database.run(lambda c: prefetch.priors(c, study, wish.newest, **same))
        sent = [self._task(prior, name, wish) for name in wish.destinations for prior in found]

        def keep(connection: Connection) -> bool:
            with connection.transaction():
                if not prefetch.note(connection, study, wish.name, [prior.uuid for prior in found]):
                    return False
                tasks.add_again(connection, sent)
                return True

        if self.database.run(keep):
            studies = len({prior.study for prior in found})
            _LOG.info(log.line("priors_wanted", study=study, rule=wish.name, priors=studies, images=len(found)))

    def _task(self, prior: Prior, destination: str, wish: Prefetch) -> tasks.Wanted:
        syntax = prior.transfer_syntax or str(parse(self.head(prior.uuid)).transfer_syntax)
        return tasks.Wanted(
            prior.uuid, Lane(KIND, destination), prior.study, prior.series, prior.sop, prior.sop_class, syntax,
            prior.size, prior.node, wish.name, LANES[wish.priority], only_if_absent=True,
        )  # fmt: skip


@dataclass
class Puller:
    """Brings the images of priors to this node's DAS.

    Parameters
    ----------
    database : Database
        The catalog's.
    restore : callable
        Reads an image from the archive unless the DAS has it; returns whether it did.
    metrics : Metrics
        Counts images.
    stop : threading.Event
        Ends the work after the current image.
    """

    database: Database
    restore: Callable[[UUID], bool]
    metrics: Metrics
    stop: threading.Event
    _seen: set[int] = field(default_factory=set)
    # One image after the other: who waits for an image comes first.
    _worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "prefetch"))

    def __post_init__(self) -> None:
        self._images = self.metrics.counter("hapacs_prefetch_images", "Images of priors, by what was done", ["end"])

    def look(self) -> int:
        """Begin to bring what is new; return the number of studies whose priors are wanted."""
        last = max(self._seen, default=0) - _OVERLAP
        found = [
            one for one in self.database.run(lambda c: prefetch.since(c, last, _WITHIN_S)) if one.id not in self._seen
        ]
        for one in found:
            self._seen.add(one.id)
            for uuid in one.images:
                self._worker.submit(self._pull, uuid)
        self._seen = {number for number in self._seen if number > max(self._seen) - 2 * _OVERLAP}
        return len(found)

    def close(self) -> None:
        """Wait for the image that is under way."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _pull(self, uuid: UUID) -> None:
        if self.stop.is_set():
            return
        try:
            self._images.labels("pulled" if self.restore(uuid) else "there").inc()
        except NodeError as error:
            # A reader gets it from the archive, or this error.
            self._images.labels("failed").inc()
            _LOG.warning(log.line("prior_not_pulled", uuid=uuid, error=error))
