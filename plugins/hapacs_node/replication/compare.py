"""Compares the images of this site with those of the second one, by digests of ranges.

Both sites compute a count and a digest for ranges of about a thousand images. Only a range that differs is divided, and
the images of the small ones are listed. What differs then is asked for again at both sites before it counts.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import batched
from typing import Protocol

from hapacs_node.catalog import comparison
from hapacs_node.catalog.comparison import Bounds, Image, Outlook, Range
from hapacs_node.catalog.database import Database
from hapacs_node.errors import NodeError
from hapacs_node.replication.names import DIFFERENCES
from hapacs_node.replication.ranges import MOST_BOUNDS, MOST_NAMED, Here
from hapacs_node.routing.peer import PeerError

FEW = 32
"""A range with so many images at each site is not divided."""
PAUSE_S = 5.0
"""What differs is asked for again after this time."""
# Names of images that wait for the second look.
_MOST_WAITING = 50_000
_TRIES, _TRY_AGAIN_S = 4, 10.0

type _Name = tuple[str, str]
"""Study and SOP Instance UID."""
type _Versions = dict[_Name, list[tuple[str, int]]]
"""Digest and size of all images with these UIDs."""


class Side(Protocol):
    """A site that is compared."""

    def bounds(self, start: str, study: str | None) -> Bounds:
        """Return where the next ranges begin."""

    def ranges(self, bounds: Sequence[str], end: str | None, study: str | None) -> list[Range]:
        """Return what is in ranges that follow each other."""

    def images(self, start: str, end: str | None, study: str | None) -> list[Image]:
        """Return the images of a range."""

    def named(self, sops: Sequence[str], study: str | None) -> list[Image]:
        """Return the images with some SOP Instance UIDs."""


@dataclass
class Listed:
    """Images that differ in one way: all are counted, the first ones are named.

    Attributes
    ----------
    most : int
        The most that are named.
    count : int
        Their number.
    images : dict
        Why, by SOP Instance UID.
    """

    most: int
    count: int = 0
    images: dict[str, str] = field(default_factory=dict)

    def add(self, sop: str, why: str = "") -> None:
        """Count an image."""
        self.count += 1
        if len(self.images) < self.most:
            self.images[sop] = why


@dataclass
class Outcome:
    """What a comparison found.

    Attributes
    ----------
    only_here, only_there, different : Listed
        Images of one site only, and those that have other bytes at the other one.
    waiting : Listed
        Images whose copy is under way.
    deleted_here : Listed
        Images that were deleted here, and are still at the second site.
    left_out : Listed
        Images that were stored before the copies began, and are not copied.
    compared, there : int
        Images of this site and of the second one.
    requests : int
        Questions to the second site.
    """

    only_here: Listed
    only_there: Listed
    different: Listed
    waiting: Listed
    deleted_here: Listed
    left_out: Listed
    compared: int = 0
    there: int = 0
    requests: int = 0

    @classmethod
    def empty(cls, most: int) -> "Outcome":
        """Return one without images, which names so many of each kind."""
        return cls(Listed(most), Listed(most), Listed(most), Listed(most), Listed(most), Listed(most))

    @property
    def differences(self) -> int:
        """How many images are not as they have to be."""
        return sum(int(getattr(self, kind).count) for kind in DIFFERENCES)


@dataclass
class Comparison:
    """Compares two sites.

    Parameters
    ----------
    database : Database
        Of this site.
    there : Side
        The second site.
    study : str or None
        Only images of this study.
    past : bool
        Whether images are copied that were stored before the copies began.
    most : int
        The most images that are named of each kind.
    pause_s : float
        What differs is asked for again after this time.
    shown : callable
        Takes the number of images that were compared, now and then.
    """

    database: Database
    there: Side
    study: str | None = None
    past: bool = True
    most: int = 1000
    pause_s: float = PAUSE_S
    shown: Callable[[int], None] = lambda _: None
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._here = Here(self.database)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="second site")
        self._found: dict[_Name, float] = {}
        self.outcome = Outcome.empty(self.most)

    def run(self) -> Outcome:
        """Compare all images.

        Raises
        ------
        NodeError
            When a site does not answer.
        """
        start: str | None = ""
        with self._pool:
            while start is not None:
                start = self._next(start)
                self._judge_those(wait=start is None)
                self.shown(self.outcome.compared)
        return self.outcome

    def _next(self, start: str) -> str | None:
        """Compare the next ranges, and return where the ones after them begin."""
        here, there = self._both(lambda side: side.bounds(start, self.study))
        end = min((one.end for one in (here, there) if one.end is not None), default=None)
        if end is not None and end <= start:
            raise NodeError(f"one site has too many images with the SOP Instance UID {start}")
        cuts = {one for bounds in (here, there) for one in bounds.bounds if end is None or one < end}
        for differing in self._differing([start, *sorted(cuts)], end, counted=True):
            for name in self._narrowed(*differing):
                self._found.setdefault(name, time.monotonic() + self.pause_s)
        return end

    def _differing(
        self, bounds: Sequence[str], end: str | None, *, counted: bool = False
    ) -> Iterator[tuple[str, str | None, Range, Range]]:
        """Return begin, end and contents of those ranges in which the sites differ."""
        for first in range(0, len(bounds), MOST_BOUNDS):
            part = bounds[first : first + MOST_BOUNDS]
            after = bounds[first + MOST_BOUNDS] if first + MOST_BOUNDS < len(bounds) else end
            pairs = zip(*self._both(lambda side: side.ranges(part, after, self.study)), strict=True)  # noqa: B023
            for start, stop, (here, there) in zip(part, [*part[1:], after], pairs, strict=True):
                if counted:
                    self.outcome.compared += here.images
                    self.outcome.there += there.images
                if here != there:
                    yield start, stop, here, there

    def _narrowed(self, start: str, end: str | None, here: Range, there: Range) -> Iterator[_Name]:
        """Return the images of a range in which the sites differ."""
        ours = self._here.images(start, end, self.study) if here.images else []
        if min(here.images, there.images) and max(here.images, there.images) > FEW:
            cuts = sorted({image.sop for image in ours[FEW::FEW]} - {start})
            for one_start, one_end, one_here, one_there in self._differing([start, *cuts], end):
                inside = [one for one in ours if one_start <= one.sop and (one_end is None or one.sop < one_end)]
                yield from self._unequal(inside if one_here.images else [], one_start, one_end, one_there)
        else:
            yield from self._unequal(ours, start, end, there)

    def _unequal(self, ours: Sequence[Image], start: str, end: str | None, there: Range) -> Iterator[_Name]:
        theirs = self._ask(lambda: self.there.images(start, end, self.study)) if there.images else []
        left, right = _versions(ours), _versions(theirs)
        yield from (name for name in left.keys() | right.keys() if left.get(name) != right.get(name))

    def _judge_those(self, *, wait: bool) -> None:
        """Judge what differed a pause ago; with `wait`, or when it is much, all that differed."""
        if self._found and (wait or len(self._found) > _MOST_WAITING):
            self.stop.wait(max(0.0, max(self._found.values()) - time.monotonic()))
        now = time.monotonic()
        by_sop: dict[str, list[_Name]] = defaultdict(list)
        for name in [name for name, due in self._found.items() if due <= now]:
            by_sop[name[1]].append(name)
            del self._found[name]
        for group in batched(sorted(by_sop), MOST_NAMED):
            self._judge(group, [name for sop in group for name in by_sop[sop]])

    def _judge(self, sops: Sequence[str], found: Iterable[_Name]) -> None:
        """Ask for images again, and count those that still differ.

        This site is asked first and last, and for the copies before the second site is asked: an image that comes, goes
        or is confirmed meanwhile is no difference.
        """
        before = _versions(self._here.named(sops, self.study))
        outlook = self.database.run(lambda c: comparison.outlook(c, sops))
        theirs = _versions(self._ask(lambda: self.there.named(sops, self.study)))
        after = _versions(self._here.named(sops, self.study))
        names = [name for name in found if before.get(name) == after.get(name)]
        strange = [name for name in names if name in theirs and name not in before]
        studies, those = [study for study, _ in strange], [sop for _, sop in strange]
        deleted = self.database.run(lambda c: comparison.deleted(c, studies, those)) if strange else set()
        for name in names:
            if before.get(name) == theirs.get(name):
                continue
            if name not in before:
                kind, why = (self.outcome.deleted_here if name in deleted else self.outcome.only_there), ""
            else:
                kind, why = self._of_ours(outlook.get(name), missing=name not in theirs)
            kind.add(name[1], why)

    def _of_ours(self, outlook: Outlook | None, *, missing: bool) -> tuple[Listed, str]:
        """Return how an image of this site differs, and why."""
        kind = self.outcome.only_here if missing else self.outcome.different
        if outlook is None:
            return kind, ""
        if outlook.waiting or (outlook.left_out and self.past):
            return self.outcome.waiting, outlook.reason
        if outlook.left_out and missing:
            return self.outcome.left_out, ""
        state = {"dead": "set aside", "dropped": "dropped by an operator"}.get(outlook.state, outlook.state)
        return kind, ": ".join(one for one in (state, outlook.reason) if one)

    def _both[T](self, work: Callable[[Side], T]) -> tuple[T, T]:
        """Ask both sites at the same time."""
        theirs = self._pool.submit(self._ask, lambda: work(self.there))
        ours = work(self._here)
        return ours, theirs.result()

    def _ask[T](self, work: Callable[[], T]) -> T:
        """Ask the second site, some times if need be: its balancer may be moving."""
        for attempt in range(1, _TRIES + 1):
            self.outcome.requests += 1
            try:
                return work()
            except PeerError:
                if attempt == _TRIES or self.stop.wait(_TRY_AGAIN_S):
                    raise
        raise AssertionError  # the last attempt returns or raises


def _versions(images: Iterable[Image]) -> _Versions:
    found: _Versions = defaultdict(list)
    for image in images:
        found[image.study, image.sop].append((image.digest, image.size))
    return {name: sorted(versions) for name, versions in found.items()}
