"""Measures how fast routing sends what waited for a destination that was down, and whether it slows another one down.

The destinations are two of dcmtk's storescp on this machine, and dcmtk's storescu with as many associations is the
reference. It sends to the same peer, in turns with the site, in one run. The peers keep nothing, so no disk decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from hapacs.bench import dcmtk
from hapacs.bench.statistics import Series, ratio
from hapacs.dicom import marks
from hapacs.errors import HapacsError
from hapacs.load.images import Image, Study, made_study
from hapacs.load.made import part_10
from hapacs.site.database import literal

OnStep = Callable[[str], None]
DEAD, LIVE = "hapacs-bench-dead", "hapacs-bench-live"
_CONFIRMED = """
select confirmed, coalesce(extract(epoch from confirmed_at), 0)::float8 from hapacs.destination where name = {}
"""
_COUNT = "select count(*) from hapacs.task where destination = {} and state = {}"
_HOLD = "update hapacs.destination set held = true where name = {}"
_RELEASE = "update hapacs.destination set held = false, retry_at = null where name = {}"
_FORGET = "delete from hapacs.task where destination = {0}; delete from hapacs.destination where name = {0}"
_STUDY = 50
_ASIDE = 8
_TURNS = 2
# Whether the other destination is down and tried, or held, while the live one is measured: drift affects both alike.
_BESIDE_DEAD = (False, True, True, False)
# What is under way when a destination is held is sent too, so a share is less than a quarter.
_SHARES = 6
# Each look costs a site a session of SSH and psql, which storescu beside it does not pay.
_POLL_S = 0.5
_PATIENCE_S = 120


@dataclass(frozen=True)
class Options:
    """Options of a measurement.

    Attributes
    ----------
    instances
        How many wait for the destination that is down.
    rows
        Rows and columns of an image of 16 bits.
    associations
        Concurrent associations to a destination.
    """

    instances: int = 10_000
    rows: int = 512
    associations: int = 2


class Subject(Protocol):
    """What is measured: routing that runs, and its database."""

    @property
    def host(self) -> str:
        """The address at which its nodes reach this machine."""
        ...

    def load(self, routing: Mapping[str, Any]) -> None:
        """Make these the rules."""
        ...

    def store(self, studies: Sequence[Study]) -> list[str]:
        """Store studies; return why images were refused."""
        ...

    def rows(self, sql: str) -> list[str]:
        """Run statements on its database, and return the rows, columns separated by ``|``."""
        ...


def run(subject: Subject, options: Options, on_step: OnStep = lambda _: None) -> dict[str, Any]:
    """Measure. What was stored, and the rules, remain.

    Returns
    -------
    dict
        Fit for JSON: ``ratio`` (the backlog, compared with storescu), ``live_ratio`` (the live destination beside the
        dead one, compared with itself alone), ``failed``, and the details.

    Raises
    ------
    HapacsError
        When dcmtk is missing, or nothing is sent for two minutes.
    """
    dead, live = dcmtk.Destination(), dcmtk.Destination()
    with TemporaryDirectory(prefix="hapacs-bench-") as place:
        files = [Path(place) / str(number) for number in range(options.associations)]
        try:
            forget(subject)
            subject.load(_rules(subject.host, {DEAD: dead.port, LIVE: live.port}, options.associations))
            for name in (DEAD, LIVE):
                subject.rows(_HOLD.format(literal(name)))
            refused = _store(subject, options, files, on_step)
            stored = options.instances - len(refused)
            on_step("waiting until the rules have been applied")
            wait(subject, DEAD, "waiting", stored)
            live.start()
            beside = _live(subject, stored, on_step)
            dead.start()
            sent, reference = _backlog(subject, stored, dead, files, on_step)
            confirmed = count(subject, DEAD, "confirmed")
        finally:
            on_step("removing the tasks")
            forget(subject)
            dead.stop()
            live.stop()
    return {
        "ratio": ratio(sent, reference),
        "live_ratio": ratio(beside[True], beside[False]),
        "failed": options.instances - confirmed,
        "failures": refused[:5],
        "instances": options.instances,
        "image_rows": options.rows,
        "associations": options.associations,
        "backlog_per_s": sent.document(),
        "storescu_per_s": reference.document(),
        "live_per_s": {"alone": beside[False].document(), "beside the dead one": beside[True].document()},
    }


def forget(subject: Subject) -> None:
    """Remove tasks and destinations of a measurement, also of one that was interrupted."""
    for name in (DEAD, LIVE):
        subject.rows(_FORGET.format(literal(name)))


def _rules(host: str, ports: Mapping[str, int], associations: int) -> dict[str, Any]:
    peers = {
        name: {
            "ae_title": dcmtk.CALLED,
            "host": host,
            "port": port,
            "calling_ae": dcmtk.CALLING,
            "associations": associations,
        }
        for name, port in ports.items()
    }
    mark = {"attribute": "PatientID", "matches": f"{marks.BENCH}.*"}
    return {"destinations": peers, "rules": [{"name": "bench", "when": [mark], "destinations": list(peers)}]}


def _store(subject: Subject, options: Options, files: Sequence[Path], on_step: OnStep) -> list[str]:
    """Store the images in studies, and write the first ones as files for storescu."""
    refused: list[str] = []
    for place in files:
        place.mkdir()
    written = 0
    for left, studies in batches(options.instances, options.rows):
        on_step(f"storing, {left:,} images to go")
        for image in (image for study in studies for image in study.images):
            if written < max(options.instances // 5, 1):
                (files[written % len(files)] / image.sop_instance).write_bytes(_file(image))
                written += 1
        refused += subject.store(studies)
    return refused


def batches(instances: int, rows: int) -> Iterator[tuple[int, list[Study]]]:
    """Make the studies of a backlog, as many at a time as are stored side by side, each time with what is to go."""
    left = instances
    while left:
        sizes = [min(_STUDY, left - _STUDY * number) for number in range(_ASIDE)]
        studies = [made_study(size, rows) for size in sizes if size > 0]
        yield left, studies
        left -= sum(len(study.images) for study in studies)


def _file(image: Image) -> bytes:
    return part_10((image.sop_class, image.sop_instance, image.transfer_syntax), image.dataset)


def _live(subject: Subject, stored: int, on_step: OnStep) -> dict[bool, Series]:
    """Measure the live destination with the other one held, and with the other one down and tried."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    for turn, tried in enumerate(_BESIDE_DEAD):
        on_step(f"the live destination {'beside the dead one' if tried else 'alone'}, {turn + 1} of 4")
        if tried:
            release(subject, DEAD)
        rates[tried].append(_rate(subject, LIVE, stored // _SHARES))
        hold(subject, DEAD)
    return {tried: Series(tuple(found)) for tried, found in rates.items()}


def _backlog(
    subject: Subject, stored: int, peer: dcmtk.Destination, files: Sequence[Path], on_step: OnStep
) -> tuple[Series, Series]:
    """Send what waits for a destination that is back, in turns with storescu."""
    sent, theirs = [], []
    for turn in range(_TURNS):
        on_step(f"storescu, {turn + 1} of {_TURNS + 1}")
        theirs.append(dcmtk.send(files, peer.port))
        on_step(f"the destination is back, {turn + 1} of {_TURNS}")
        sent.append(_rate(subject, DEAD, stored // _TURNS if turn + 1 < _TURNS else stored))
    on_step(f"storescu, {_TURNS + 1} of {_TURNS + 1}")
    theirs.append(dcmtk.send(files, peer.port))
    return Series(tuple(sent)), Series(tuple(theirs))


def _rate(subject: Subject, destination: str, share: int) -> float:
    """Release a destination, and return how many images a second it confirms until so many more are confirmed.

    The last ones of the backlog belong to it too: it ends when nothing waits, at the latest.
    """
    before, _ = _confirmed(subject, destination)
    release(subject, destination)
    begun = last = time.monotonic()
    first: tuple[int, float] | None = None
    sent, at = before, 0.0
    while sent < before + share:
        time.sleep(_POLL_S)
        now, at_now = _confirmed(subject, destination)
        if now > sent:
            sent, at, last = now, at_now, time.monotonic()
            # What is recorded first was sent since an unknown time: the release is noticed within a period.
            first = first or (sent, at)
        elif not count(subject, destination, "waiting") + count(subject, destination, "in flight"):
            # The last ones, or more than a share was under way when the destination was held before.
            sent, at = _confirmed(subject, destination)
            break
        elif time.monotonic() - last > _PATIENCE_S:
            raise HapacsError(
                f"{destination} confirmed {sent - before} of {share} images, and then none for {_PATIENCE_S} s.",
                "`journalctl -u hapacs-routing` on the nodes says why.",
            )
    hold(subject, destination)
    if first is None or at <= first[1]:
        raise HapacsError(f"{share} images were sent within {time.monotonic() - begun:.1f} s.", "Give more instances.")
    return (sent - first[0]) / (at - first[1])


def _confirmed(subject: Subject, destination: str) -> tuple[int, float]:
    """Return how many images a destination confirmed, and when it last did, seconds."""
    (row,) = subject.rows(_CONFIRMED.format(literal(destination)))
    number, _, at = row.partition("|")
    return int(number), float(at)


def count(subject: Subject, destination: str, state: str) -> int:
    """Return how many tasks of a destination are in a state."""
    return int(subject.rows(_COUNT.format(literal(destination), literal(state)))[0])


def wait(subject: Subject, destination: str, state: str, wanted: int) -> None:
    """Wait until so many tasks of a destination are in a state.

    Raises
    ------
    HapacsError
        When no more come for two minutes.
    """
    most, last = -1, time.monotonic()
    while (now := count(subject, destination, state)) < wanted:
        if now > most:
            most, last = now, time.monotonic()
        elif time.monotonic() - last > _PATIENCE_S:
            raise HapacsError(
                f"{now} of {wanted} images wait for {destination}, and no more come.",
                "`hapacs route status` says how many are not compared with the rules yet.",
            )
        time.sleep(_POLL_S)


def release(subject: Subject, destination: str) -> None:
    """Let images go to a destination, at once."""
    subject.rows(_RELEASE.format(literal(destination)))


def hold(subject: Subject, destination: str) -> None:
    """Hold a destination, and wait until nothing is under way to it."""
    subject.rows(_HOLD.format(literal(destination)))
    end = time.monotonic() + _PATIENCE_S
    while count(subject, destination, "in flight") and time.monotonic() < end:
        time.sleep(_POLL_S)
