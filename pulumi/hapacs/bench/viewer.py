"""Measures how fast a viewer has the images of a CT, compared with a bare Orthanc on a node, alternating in one run.

Both sides are asked over HTTPS. Warm and cold are as in `hapacs.bench.retrieve`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hapacs.bench import bare, cpu, footprint, sides
from hapacs.bench.fetch import Web
from hapacs.bench.ingest import OnStep, Side, order
from hapacs.bench.retrieve import TEMPERATURES, Temperature
from hapacs.bench.statistics import Series, ratio
from hapacs.bench.view import CONNECTIONS, Viewed, view
from hapacs.load.images import Study
from hapacs.site.access import HTTPS_PORTS, Site

# The viewing functions of both sides.
Viewers = Mapping[Side, Callable[[Study], Viewed]]


@dataclass(frozen=True)
class Options:
    """Options of a measurement.

    Attributes
    ----------
    instances
        Number of images of a study. A study must not fit into Orthanc's cache of the last files (128 MB).
    rows
        Rows and columns of an image of 16 bits.
    rounds
        Rounds of each side.
    connections
        Connections of the viewer.
    """

    instances: int = 500
    rows: int = 512
    rounds: int = 3
    connections: int = CONNECTIONS

    @property
    def image_bytes(self) -> int:
        """Size of all studies at one side: a cold one for each round, and a warm one."""
        return (self.rounds + 1) * self.instances * 2 * self.rows**2


@dataclass
class Result:
    """Rounds of one side at one temperature."""

    viewed: list[Viewed] = field(default_factory=list)
    used: cpu.Used = field(default_factory=cpu.Used)
    frames: int = 0

    def add(self, study: Study, viewed: Viewed, used: cpu.Used) -> None:
        """Add a round."""
        self.viewed.append(viewed)
        self.frames += len(study.images)
        self.used.add(used)

    @property
    def first_s(self) -> Series:
        """Seconds to the first frame, of each round."""
        return Series(tuple(one.first_s for one in self.viewed))

    @property
    def all_s(self) -> Series:
        """Seconds to the last frame, of each round."""
        return Series(tuple(one.all_s for one in self.viewed))

    def document(self) -> dict[str, Any]:
        """Describe it for JSON."""
        return {
            "first_frame_s": self.first_s.document(),
            "all_frames_s": self.all_s.document(),
            **self.used.document(self.frames),
        }


def run(site: Site, options: Options, on_step: OnStep = lambda _: None) -> dict[str, Any]:
    """Measure.

    Returns
    -------
    dict
        Fit for JSON: ``warm_ratio`` and ``cold_ratio`` (how many times as fast as the bare Orthanc the site has all
        frames), ``failed``, and the details.

    Raises
    ------
    HapacsError
        When a disk has too little space, the site isn't healthy, or a study can't be stored or viewed.
    """
    on_step("looking for room")
    footprint.require_room(site, 2 * options.image_bytes)
    stored: list[Study] = []
    results: dict[tuple[Temperature, Side], Result] = {}
    try:
        with bare.running(site, [bare.DICOMWEB], https=True) as reference:
            viewers = _viewers(site, reference, options)
            for number in range(options.rounds + 1):
                on_step(f"storing study {number + 1} of {options.rounds + 1}")
                stored.append(sides.store(site, reference, options.instances, options.rows))
            *cold, warm = stored
            lacking = footprint.wait_for_copies(site, on_step)
            on_step("emptying the DAS of all nodes")
            footprint.empty_das(site, footprint.objects(site, cold))
            for temperature in TEMPERATURES:
                if temperature == "warm":
                    on_step("reading what shall be warm")
                    _warm_up(site, viewers, warm)
                for number, side in order(options.rounds - 1):
                    on_step(f"{temperature}, {side}, round {number + 1} of {options.rounds}")
                    study = cold[number] if temperature == "cold" else warm
                    if temperature == "cold":
                        footprint.drop_page_cache(site)
                    viewed, used = cpu.measured(site, partial(viewers[side], study))
                    results.setdefault((temperature, side), Result()).add(study, viewed, used)
    finally:
        on_step("removing what was stored")
        footprint.remove(site, stored)
    return {**_document(options, results), "other_site_lacks": lacking}


def _document(options: Options, results: Mapping[tuple[Temperature, Side], Result]) -> dict[str, Any]:
    details: dict[str, Any] = {}
    for temperature in TEMPERATURES:
        ours, theirs = results[temperature, "site"], results[temperature, "bare"]
        details[temperature] = {
            # Of times: the bare Orthanc's by the site's, so that more is better.
            "ratio": ratio(theirs.all_s, ours.all_s),
            "first_frame_ratio": ratio(theirs.first_s, ours.first_s),
            "site": ours.document(),
            "bare": theirs.document(),
        }
    return {
        **{f"{name}_ratio": details[name]["ratio"] for name in reversed(TEMPERATURES)},
        "failed": sum(one.wrong for result in results.values() for one in result.viewed),
        "instances": options.instances,
        "rows": options.rows,
        "connections": options.connections,
        **details,
    }


def _viewers(site: Site, reference: bare.Bare, options: Options) -> Viewers:
    login = ("verify", str(site.secrets["hapacs_secret_dicomweb_users"]["verify"]))
    ours = Web(site.vip, int(site.contract["https_port"]), site.tls("edge", client=False), login)
    theirs = Web(reference.host, reference.https_port, site.tls("pacs", client=False))
    return {
        "site": lambda study: view(ours, study, options.connections),
        "bare": lambda study: view(theirs, study, options.connections),
    }


def _warm_up(site: Site, viewers: Viewers, study: Study) -> None:
    """Read the warm study through each node of the site, and from the bare Orthanc."""
    viewers["bare"](study)
    tls = site.tls("pacs", client=True)
    for node in site.members("pacs"):
        Web(node.address, HTTPS_PORTS["query"], tls).fetch(study)
