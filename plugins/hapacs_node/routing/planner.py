"""Turns events of stored images into tasks, by the rules."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID

from pydicom import Dataset

from hapacs_node import log
from hapacs_node.catalog import events, replication, tasks
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.events import Event, Image
from hapacs_node.catalog.gathering import Level, Touched
from hapacs_node.catalog.tasks import Lane, Wanted
from hapacs_node.errors import NodeError
from hapacs_node.metrics import Metrics
from hapacs_node.replication.model import Outgoing
from hapacs_node.routing import match, prefetch
from hapacs_node.routing.header import Needed
from hapacs_node.routing.match import Facts
from hapacs_node.routing.model import KIND, LANES, Prefetch, Routing
from hapacs_node.routing.prefetch import Priors

_LOG = log.get("planner")
BATCH = 100
_LEASE_S = 60
# An event is written before Orthanc's index has the image. One that never comes into the index was not acknowledged.
_INDEX_PAUSE_S = 1
_INDEX_AFTER = timedelta(hours=1)
_READ_PAUSE_S = 30


@dataclass
class Planner:
    """Plans the events of a site; planners of several nodes share the work.

    Parameters
    ----------
    node : str
        This node.
    database : Database
        The catalog's.
    head, read : callable
        Return the beginning of an attachment, and all of it.
    metrics : Metrics
        Counts what was planned.
    """

    node: str
    database: Database
    head: Callable[[UUID], bytes]
    read: Callable[[UUID], bytes]
    metrics: Metrics

    def __post_init__(self) -> None:
        self._priors = Priors(self.database, self.head)
        self._planned = self.metrics.counter("hapacs_routing_planned", "Images compared with the rules", ["outcome"])

    def plan(self, routing: Outgoing) -> int:
        """Plan the events that are due; return how many were claimed."""
        claimed = self.database.run(lambda c: events.claim(c, self.node, BATCH, _LEASE_S))
        if not claimed:
            return 0
        uuids = [event.uuid for event in claimed]
        images = {image.uuid: image for image in self.database.run(lambda c: events.images(c, uuids))}
        done, unmatched, wanted, unread = [], [], [], []
        priors: dict[tuple[str, str], Prefetch] = {}
        needed = Needed.of(routing)
        # Without rules nothing is compared: the file is not even read.
        compares = bool(routing.rules or routing.prefetch or routing.second_site is None)
        compared = 0
        for uuid, image in images.items():
            routed = compares and not image.is_canary
            try:
                made = self._tasks(routing, needed, image, priors) if routed else []
            except NodeError as error:
                unread.append(uuid)
                _LOG.warning(log.line("planning_postponed", sop=image.sop, error=error))
                continue
            done.append(uuid)
            wanted += made
            if routing.second_site is not None and not image.is_trial:
                wanted.append(replication.wanted(image, replication.NEW))
            compared += routed
            if routed and not made:
                unmatched.append(uuid)
        gone = self._gone(claimed, images)
        # Before the events are gone: the first image of a study may be its only one.
        self._priors.plan(priors)
        touched = _touched(routing, [image for image in images.values() if not image.is_canary])
        self.database.run(lambda c: tasks.plan(c, [*done, *gone], wanted, unmatched, touched))
        self._postpone(claimed, {*done, *gone}, unread)
        self._planned.labels("matched").inc(compared - len(unmatched))
        self._planned.labels("unmatched").inc(len(unmatched))
        self._planned.labels("not in the index").inc(len(gone))
        return len(claimed)

    def _postpone(self, claimed: list[Event], finished: set[UUID], unread: list[UUID]) -> None:
        waiting = [event.uuid for event in claimed if event.uuid not in finished and event.uuid not in unread]
        for uuids, pause_s in ((waiting, _INDEX_PAUSE_S), (unread, _READ_PAUSE_S)):
            if uuids:
                self.database.run(partial(events.postpone, uuids=uuids, pause_s=pause_s))

    @staticmethod
    def _gone(claimed: list[Event], images: Mapping[UUID, Image]) -> list[UUID]:
        """Return events of images that were refused or removed: they are not in the index, and will not be."""
        return [event.uuid for event in claimed if event.uuid not in images and event.age > _INDEX_AFTER]

    def _tasks(
        self, routing: Routing, needed: Needed, image: Image, priors: dict[tuple[str, str], Prefetch]
    ) -> list[Wanted]:
        head = self.head(image.uuid)
        try:
            dataset = needed.of_file(head, lambda: self.read(image.uuid))
            names = (str(dataset.file_meta.MediaStorageSOPClassUID), str(dataset.file_meta.TransferSyntaxUID))
            known = facts(dataset, image)
            found = match.routes(match.verdicts(routing, known))
            priors |= {(image.study, one.name): one for one in prefetch.wanted(routing, known)}
        except (ValueError, AttributeError, NotImplementedError) as error:
            # It would fail in the same way each time. It counts as unmatched, which operators see.
            _LOG.error(log.line("not_parsed", sop=image.sop, error=type(error).__name__))
            return []
        return [
            Wanted(
                image.uuid,
                Lane(KIND, destination),
                image.study,
                image.series,
                image.sop,
                *names,
                image.size,
                image.node,
                rule.name,
                LANES[rule.priority],
                float(rule.delay_s),
                [change.model_dump(exclude_defaults=True) for change in rule.change] or None,
                None if rule.each == "instance" else rule.each,
                only_if_absent=rule.only_if_absent,
            )
            for destination, rule in found.items()
        ]


def _touched(routing: Routing, images: Iterable[Image]) -> list[Touched]:
    """Return the studies and series of images, when rules wait for the end of such."""
    quiet: dict[Level, int] = {"study": routing.study_quiet_s, "series": routing.series_quiet_s}
    waited = {rule.each for rule in routing.rules}
    uids: dict[Level, dict[str, str]] = {"study": {}, "series": {}}
    for image in images:
        uids["study"][image.study] = image.study
        uids["series"][image.series] = image.study
    return [
        Touched(level, uid, study, quiet[level])
        for level, found in uids.items()
        if level in waited
        for uid, study in found.items()
    ]


def facts(dataset: Dataset, image: Image) -> Facts:
    """Return what rules are compared with.

    Parameters
    ----------
    dataset : Dataset
        The image, at least with the attributes that the rules name.
    image : Image
        How it came.
    """
    kind, _, name = (image.caller or "").partition(":")
    user = name if kind == "user" else ""
    association = {"calling_ae": image.calling or "", "called_ae": image.called or "", "user": user}
    return Facts(dataset, image.stored_at, association)
