"""Measures how fast a site returns a study, compared with a bare Orthanc on one of its nodes, alternating in one run.

Warm: the study was read before, through each of the nodes. Cold: it was never read, and no node has it on its DAS or in
memory, so it is read from the disks of the archive. The bare Orthanc reads its cold study from its disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Literal

from hapacs.bench import bare, cpu, footprint, sides
from hapacs.bench.bare import Bare
from hapacs.bench.fetch import Fetched, Web, by_get
from hapacs.bench.ingest import OnStep, Side, order
from hapacs.bench.statistics import Series, ratio
from hapacs.load.images import Study
from hapacs.site.access import HTTPS_PORTS, Site

Temperature = Literal["warm", "cold"]
TEMPERATURES: tuple[Temperature, ...] = ("cold", "warm")
METHODS = ("wado-rs", "c-get")
# The retrieving functions of one side, by method.
Doors = Mapping[str, Callable[[Study], Fetched]]


@dataclass(frozen=True)
class Options:
    """Options of a measurement.

    Attributes
    ----------
    instances
        Number of instances in a study. Two studies must not fit into Orthanc's cache of the last files (128 MB).
    rows
        Rows and columns of an image of 16 bits.
    rounds
        Rounds of each side and method.
    """

    instances: int = 200
    rows: int = 512
    rounds: int = 3

    @property
    def studies(self) -> int:
        """Number of stored studies: a cold one for each round and method, and one warm one for each method."""
        return len(METHODS) * (self.rounds + 1)

    @property
    def image_bytes(self) -> int:
        """Size of all studies at one side."""
        return self.studies * self.instances * 2 * self.rows**2


@dataclass
class Result:
    """Rounds of one side with one method at one temperature."""

    per_s: list[float] = field(default_factory=list)
    used: cpu.Used = field(default_factory=cpu.Used)
    instances: int = 0

    def add(self, study: Study, fetched: Fetched, used: cpu.Used) -> None:
        """Add a round."""
        self.per_s.append(len(study.images) / fetched.seconds)
        self.instances += len(study.images)
        self.used.add(used)

    @property
    def series(self) -> Series:
        """Instances a second, of each round."""
        return Series(tuple(self.per_s))

    def document(self) -> dict[str, Any]:
        """Describe it for JSON."""
        return {
            "per_s": self.series.document(),
            **self.used.document(self.instances),
        }


def run(site: Site, options: Options, on_step: OnStep = lambda _: None) -> dict[str, Any]:
    """Measure.

    Returns
    -------
    dict
        Fit for JSON: ``warm_ratio`` and ``cold_ratio`` (each the lower one of the two methods), ``failed``, and the
        details.

    Raises
    ------
    HapacsError
        When a disk has too little space, the site isn't healthy, or a study can't be stored or retrieved.
    """
    on_step("looking for room")
    footprint.require_room(site, 2 * options.image_bytes)
    stored: list[Study] = []
    results: dict[tuple[Temperature, str, Side], Result] = {}
    wrong = 0
    try:
        with bare.running(site, [bare.DICOMWEB]) as reference:
            doors = {"bare": _bare_doors(site, reference), "site": _site_doors(site)}
            for number in range(options.studies):
                on_step(f"storing study {number + 1} of {options.studies}")
                stored.append(sides.store(site, reference, options.instances, options.rows))
            *cold, warm = [stored[start : start + len(METHODS)] for start in range(0, options.studies, len(METHODS))]
            lacking = footprint.wait_for_copies(site, on_step)
            on_step("emptying the DAS of all nodes")
            footprint.empty_das(site, footprint.objects(site, list(chain.from_iterable(cold))))
            for temperature in TEMPERATURES:
                if temperature == "warm":
                    _warm_up(site, doors, warm, on_step)
                for number, side in order(options.rounds - 1):
                    studies = cold[number] if temperature == "cold" else warm
                    for method, study in zip(METHODS, studies, strict=True):
                        on_step(f"{temperature}, {method}, {side}, round {number + 1} of {options.rounds}")
                        if temperature == "cold":
                            footprint.drop_page_cache(site)
                        fetched, used = cpu.measured(site, partial(doors[side][method], study))
                        results.setdefault((temperature, method, side), Result()).add(study, fetched, used)
                        wrong += fetched.wrong
    finally:
        on_step("removing what was stored")
        footprint.remove(site, stored)
    return {**_document(options, results, wrong), "other_site_lacks": lacking}


def _document(options: Options, results: dict[tuple[Temperature, str, Side], Result], wrong: int) -> dict[str, Any]:
    details: dict[str, Any] = {}
    for temperature in TEMPERATURES:
        details[temperature] = {}
        for method in METHODS:
            ours, theirs = (results[temperature, method, side] for side in ("site", "bare"))
            compared = {"ratio": ratio(ours.series, theirs.series), "site": ours.document(), "bare": theirs.document()}
            details[temperature][method] = compared
    return {
        **{f"{name}_ratio": min(one["ratio"] for one in details[name].values()) for name in reversed(TEMPERATURES)},
        "failed": wrong,
        "instances_per_study": options.instances,
        "rows": options.rows,
        **details,
    }


def _warm_up(site: Site, doors: Mapping[str, Doors], studies: list[Study], on_step: OnStep) -> None:
    """Read the warm studies through each node of the site, and from the bare Orthanc."""
    tls = site.tls("pacs", client=True)
    for study in studies:
        on_step("reading what shall be warm")
        doors["bare"]["wado-rs"](study)
        for node in site.members("pacs"):
            Web(node.address, HTTPS_PORTS["query"], tls).fetch(study)


def _bare_doors(site: Site, reference: Bare) -> Doors:
    return dict(
        zip(METHODS, (Web(reference.host, reference.http_port).fetch, by_get(site.caller, reference.peer)), strict=True)
    )


def _site_doors(site: Site) -> Doors:
    login = ("verify", str(site.secrets["hapacs_secret_dicomweb_users"]["verify"]))
    web = Web(site.vip, int(site.contract["https_port"]), site.tls("edge", client=False), login)
    return dict(zip(METHODS, (web.fetch, by_get(site.caller, site.query_peer)), strict=True))
