"""Measures whether a site stays as fast when its index and catalog grow: rates with few and with many rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from pydicom import Dataset
from pydicom.uid import generate_uid

from hapacs.bench import footprint, ingest
from hapacs.bench.ingest import OnStep
from hapacs.bench.rows import INSTANCES_PER_STUDY, STUDIES_PER_BLOCK, Rows
from hapacs.bench.statistics import Series, latency, ratio
from hapacs.dicom.client import SUCCESS
from hapacs.errors import HapacsError, RefusedError
from hapacs.load import burst
from hapacs.load.images import Study, made_study
from hapacs.load.wire import Association
from hapacs.site.access import Site
from hapacs.site.database import Database

INGEST = "ingest"


@dataclass(frozen=True)
class Options:
    """Options of a measurement.

    Attributes
    ----------
    few, many
        Numbers of catalog rows at the two measurements.
    associations, instances, rows
        As in `ingest.Options`.
    queries
        Number of queries of each kind in one round.
    """

    few: int = 1_000
    many: int = 1_000_000
    associations: int = 8
    instances: int = 200
    rows: int = 512
    queries: int = 100
    rounds: int = 3

    @property
    def image_bytes(self) -> int:
        """Size of all images."""
        return 2 * (self.rounds + 1) * self.instances * 2 * self.rows**2


@dataclass
class _Measured:
    """The rates at one size."""

    rows: int
    per_s: dict[str, list[float]]
    seconds: dict[str, list[float]]

    def series(self, kind: str) -> Series:
        return Series(tuple(self.per_s[kind]))

    def document(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            **{
                kind: {"per_s": self.series(kind).document(), "response_ms": latency(self.seconds[kind])}
                for kind in self.per_s
            },
        }


def run(site: Site, options: Options, on_step: OnStep = lambda _: None) -> dict[str, Any]:
    """Measure with few rows, make the others, measure again, and remove all rows that were made.

    Returns
    -------
    dict
        Fit for JSON: ``growth_ratio`` (the lowest of all kinds), ``failed``, and the details.

    Raises
    ------
    RefusedError
        When the deployment isn't a lab: an archive of patients must not contain rows without images.
    HapacsError
        When a disk has too little space, or the site isn't healthy.
    """
    if not site.deployment.settings.target.expendable:
        raise RefusedError("Rows without images are made in a lab only.", "`hapacs bench growth lab`")
    footprint.require_room(site, options.image_bytes)
    rows = Rows(Database.of(site))
    _remove_rows(rows, on_step)
    stored: list[Study] = []
    failures: list[str] = []
    try:
        stored.append(_pattern(site, options))
        rows.prepare(stored[0])
        root = generate_uid()
        made = _fill(rows, 0, options.few, root, on_step)
        few = _measure(site, rows, options, stored=stored, failures=failures, on_step=on_step)
        _fill(rows, made, options.many, root, on_step)
        many = _measure(site, rows, options, stored=stored, failures=failures, on_step=on_step)
    finally:
        on_step("removing what was stored")
        footprint.remove(site, stored)
        _remove_rows(rows, on_step)
    ratios = {kind: ratio(many.series(kind), few.series(kind)) for kind in few.per_s}
    return {
        "growth_ratio": min(ratios.values()),
        "failed": len(failures),
        "failures": failures[:5],
        "ratios": ratios,
        "associations": options.associations,
        "instances_per_round": options.instances,
        "image_rows": options.rows,
        "few": few.document(),
        "many": many.document(),
    }


def _pattern(site: Site, options: Options) -> Study:
    study = made_study(1, options.rows)
    outcome = burst.send(site.caller, site.store_peer, [study])
    if outcome.failures:
        raise HapacsError(f"The site stored no image: {outcome.failures[0]}.", "`hapacs verify --only c-store`")
    return study


def _fill(rows: Rows, first: int, wanted: int, root: str, on_step: OnStep) -> int:
    """Make rows until there are as many as wanted, and return the number of the next study."""
    number = first
    while (missing := wanted - rows.count()) > 0:
        # The last block is smaller, down to one study with a few instances.
        studies = min(STUDIES_PER_BLOCK, missing // INSTANCES_PER_STUDY) or 1
        on_step(f"making rows, {missing:,} to go")
        rows.add_block(number, studies, root, min(INSTANCES_PER_STUDY, missing))
        number += studies
    on_step("letting the database settle")
    rows.settle()
    return number


def _remove_rows(rows: Rows, on_step: OnStep) -> None:
    if left := rows.blocks():
        while left:
            on_step(f"removing rows, {left} blocks to go")
            left = rows.remove_block()
        rows.settle()
    rows.forget()


def _measure(
    site: Site, rows: Rows, options: Options, *, stored: list[Study], failures: list[str], on_step: OnStep
) -> _Measured:
    measured = _Measured(rows.count(), {}, {})
    known = stored[0]
    round_of = ingest.Options(options.associations, options.instances, options.rows)
    for number in range(options.rounds + 1):
        on_step(f"storing beside {measured.rows:,} rows, round {number} of {options.rounds}")
        studies = ingest.studies(round_of)
        stored += studies
        outcome = burst.send(site.caller, site.store_peer, studies)
        failures += outcome.failures
        found: dict[str, list[float]] = {INGEST: outcome.responses}
        rates = {INGEST: outcome.per_s if outcome.responses else 0.0}
        for kind, ask in _queries(site, known).items():
            on_step(f"asking beside {measured.rows:,} rows, {kind}, round {number} of {options.rounds}")
            found[kind] = ask(options.queries, failures)
            rates[kind] = len(found[kind]) / sum(found[kind]) if found[kind] else 0.0
        if number:
            for kind, rate in rates.items():
                measured.per_s.setdefault(kind, []).append(rate)
                measured.seconds.setdefault(kind, []).extend(found[kind])
    return measured


Ask = Callable[[int, list[str]], list[float]]


def _queries(site: Site, study: Study) -> Mapping[str, Ask]:
    """Return a function for each kind of query: it sends the query repeatedly and returns the response times."""

    def qido(parameters: Mapping[str, str]) -> Ask:
        def ask(count: int, failures: list[str]) -> list[float]:
            times = []
            for _ in range(count):
                begun = time.perf_counter()
                answer = site.web.get("studies", params=parameters)
                if answer.status_code == httpx.codes.OK and answer.json():
                    times.append(time.perf_counter() - begun)
                else:
                    failures.append(f"QIDO-RS is answered {answer.status_code}, {len(answer.content)} bytes")
            return times

        return ask

    def find(**keys: str) -> Ask:
        def ask(count: int, failures: list[str]) -> list[float]:
            identifier = Dataset()
            for keyword, value in keys.items():
                setattr(identifier, keyword, value)
            times = []
            with Association(site.caller, site.query_peer, "find") as association:
                request = association.find_request(identifier)
                for _ in range(count):
                    begun = time.perf_counter()
                    status, answers = association.exchange(request)
                    if status == SUCCESS and answers:
                        times.append(time.perf_counter() - begun)
                    else:
                        failures.append(f"C-FIND ended with status 0x{status:04X} and {answers} answers")
            return times

        return ask

    return {
        "qido-rs study": qido({"StudyInstanceUID": study.uid}),
        "qido-rs patient": qido({"PatientID": study.patient}),
        "c-find patient": find(QueryRetrieveLevel="STUDY", PatientID=study.patient, StudyInstanceUID="", StudyDate=""),
        "c-find series": find(QueryRetrieveLevel="SERIES", StudyInstanceUID=study.uid, SeriesInstanceUID=""),
    }
