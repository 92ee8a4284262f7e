"""A scene and a load that exist in memory only, and note what happens in which order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from hapacs.drills.model import Drill, Injected, Kept, Lacking, OtherSite, Prepared, Times, UnprovedError
from hapacs.drills.run import Conductor, Limits
from hapacs.errors import HapacsError

DRILL = Drill("storing-killed", "The storing service is killed.", "storing", hold_s=0.02)
ELSEWHERE = Drill("other-site-off", "The other site loses its power.", "data", OtherSite("off"), hold_s=0.02)
SHORT = Limits(steady_s=0.05, after_s=0, back_s=0.05, equal_s=0.05, every_s=0.005)


class FakeScene:
    """A site; its events are listed in `happened`.

    Attributes
    ----------
    stops
        The load that is quiet from the whole fault until it is undone at the first place.
    lasts_s
        Time from the fault's beginning until all of it is there.
    """

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.found: list[list[str]] = []
        self.late: list[list[str]] = []
        self.unprepared = ""
        self.proof = "2 processes are gone"
        self.failure: BaseException | None = None
        self.where = ["pacs1"]
        self.said = "no majority"
        self.stops: FakeLoad | None = None
        self.lasts_s = 0.0
        self.silenced: list[tuple[str, ...]] = []

    def problems(self) -> list[str]:
        self.happened.append("problems")
        return self.found.pop(0) if self.found else []

    def prepare(self, _drill: Drill, _image_bytes: bytes) -> Prepared:
        self.happened.append("prepare")
        if self.unprepared:
            raise UnprovedError(self.unprepared)
        return Prepared(tuple(self.where))

    def refusal(self) -> str:
        return self.said

    def lacking(self) -> Lacking:
        self.happened.append("lacking")
        return Lacking(7, 900, 58.0)

    def behind(self) -> list[str]:
        self.happened.append("behind")
        return self.late.pop(0) if self.late else []

    def inject(self, _drill: Drill, prepared: Prepared) -> Injected:
        self.happened.append("inject")
        if self.failure:
            raise self.failure
        if not self.proof:
            raise UnprovedError("the fault took no effect")
        at = time.time()
        time.sleep(self.lasts_s)
        if self.stops:
            self.stops.quiet_after = time.time() - self.stops.begun
        return Injected(", ".join(prepared.places), at, self.proof, time.time())

    def heal(self, place: str) -> None:
        if self.stops and self.happened[-1] == "inject":
            self.stops.quiet_until = time.time() - self.stops.begun
        self.happened.append("heal")
        if place == "stuck":
            raise HapacsError("stuck does not answer", "Wait.")


class FakeLoad:
    """Stores that were acknowledged at given moments, or at every millisecond."""

    def __init__(self, kept: Kept | None = None) -> None:
        self.kept = Kept(acknowledged=100) if kept is None else kept
        self.first = self.begun = 0.0
        self.ended = float("inf")
        self.quiet_after = float("inf")
        self.quiet_until = float("inf")
        self.silent = False
        self.image_bytes = b"\x01"

    def store_first(self) -> None:
        self.first = time.time()

    def __enter__(self) -> Self:
        self.begun = time.time()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = time.time()

    def acknowledged(self) -> list[float]:
        """Return that of the first image, then each millisecond, but none from `quiet_after` until `quiet_until`."""
        count = 0 if self.silent else int((min(time.time(), self.ended) - self.begun) * 1000)
        quiet = (self.quiet_after, self.quiet_until)
        heard = (number / 1000 for number in range(count) if not quiet[0] <= number / 1000 < quiet[1])
        return [self.first, *(self.begun + after for after in heard)]

    def failures(self) -> list[tuple[float, str]]:
        return []

    def repeated(self) -> int:
        return 0

    def queries(self, since: float, until: float) -> Times:
        return Times(longest_without_s=until - since)

    reads = queries

    def check(self) -> Kept:
        return self.kept


def conductor(scene: FakeScene, *, stops: bool = False) -> Conductor:
    @contextmanager
    def watching(places: Sequence[str]) -> Iterator[None]:
        scene.happened.append(f"watch {', '.join(places)}")
        yield
        scene.happened.append("unwatch")

    @contextmanager
    def silencing(_drill: Drill, prepared: Prepared) -> Iterator[None]:
        scene.silenced.append(prepared.places)
        yield
        scene.silenced.append(())

    return Conductor(scene, watching, silencing, stops, lambda _: None, SHORT)
