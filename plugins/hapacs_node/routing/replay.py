"""What a rule set would have sent of the images that a site has. Nothing is sent, and nothing is written."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from pydicom import Dataset

from hapacs_node.catalog import events, headers
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.events import Image, Past
from hapacs_node.errors import NodeError
from hapacs_node.routing import match
from hapacs_node.routing.header import Needed
from hapacs_node.routing.model import Routing
from hapacs_node.routing.planner import facts

_PAGE = 200
_EXAMPLES = 3


@dataclass
class Tally:
    """Some images.

    Attributes
    ----------
    images, bytes : int
        Their number and size.
    studies : list of str
        UIDs of a few of their studies.
    """

    images: int = 0
    bytes: int = 0
    studies: list[str] = field(default_factory=list)

    def add(self, image: Image) -> None:
        """Count an image."""
        self.images += 1
        self.bytes += image.size
        if len(self.studies) < _EXAMPLES and image.study not in self.studies:
            self.studies.append(image.study)


@dataclass
class Outcome:
    """What rules make of past images.

    Attributes
    ----------
    back_to : datetime
        Every image that was stored since then is counted, UTC.
    complete : bool
        Whether this is the time that was asked for; not when the time limit was reached before.
    compared : Tally
        All images.
    sent : dict
        Those that would be sent, by rule and destination.
    unmatched : Tally
        Those that no rule matches.
    unread : Tally
        Those of which the attributes can't be read.
    """

    back_to: datetime
    complete: bool
    compared: Tally
    sent: dict[tuple[str, str], Tally]
    unmatched: Tally
    unread: Tally


@dataclass
class Replay:
    """Compares past images with rules, the newest first.

    Parameters
    ----------
    database : Database
        The catalog's.
    head, read : callable
        Return the beginning of an attachment, and all of it.
    described_as : str
        How this node reads metadata; those that were read in another way are not used.
    pause : callable
        Waits for some seconds. Half of the time is left to others.
    """

    database: Database
    head: Callable[[UUID], bytes]
    read: Callable[[UUID], bytes]
    described_as: str
    pause: Callable[[float], None] = time.sleep

    def run(self, routing: Routing, since: timedelta, limit_s: float) -> Outcome:
        """Compare the images that were stored in the last time.

        Parameters
        ----------
        routing : Routing
            The rules.
        since : timedelta
            How far back.
        limit_s : float
            Time after which it ends where it is.

        Raises
        ------
        NodeError
            When no database leader answers.
        """
        end = time.monotonic() + limit_s
        before = self.database.run(events.newest)
        pairs = [(rule.name, destination) for rule in routing.rules for destination in rule.destinations]
        outcome = Outcome(before.stored_at, False, Tally(), {pair: Tally() for pair in pairs}, Tally(), Tally())
        needed, oldest = Needed.of(routing), before.stored_at - since
        while time.monotonic() < end:
            began = time.monotonic()
            page = self._page(oldest, before)
            self._compare(routing, needed, page, outcome)
            if len(page) < _PAGE:
                outcome.back_to, outcome.complete = oldest, True
                break
            before = page[-1]
            outcome.back_to = before.stored_at
            self.pause(time.monotonic() - began)
        return outcome

    def _page(self, oldest: datetime, before: Past) -> Sequence[Past]:
        return self.database.run(lambda c: events.past(c, oldest, before, _PAGE))

    def _compare(self, routing: Routing, needed: Needed, page: Sequence[Past], outcome: Outcome) -> None:
        uuids = [past.uuid for past in page]
        images = self.database.run(lambda c: events.images(c, uuids))
        documents = self._documents(uuids) if needed.documented else {}
        for image in images:
            outcome.compared.add(image)
            try:
                dataset = self._dataset(needed, image.uuid, documents.get(image.uuid))
                found = match.routes(match.verdicts(routing, facts(dataset, image)))
            except (NodeError, ValueError, AttributeError, NotImplementedError):
                outcome.unread.add(image)
                continue
            for destination, rule in found.items():
                outcome.sent[rule.name, destination].add(image)
            if not found:
                outcome.unmatched.add(image)

    def _documents(self, uuids: Sequence[UUID]) -> dict[UUID, bytes]:
        return self.database.run(lambda c: headers.documents(c, uuids, self.described_as))

    def _dataset(self, needed: Needed, uuid: UUID, document: bytes | None) -> Dataset:
        if document is not None:
            return needed.of_document(document)
        return needed.of_file(self.head(uuid), lambda: self.read(uuid))
