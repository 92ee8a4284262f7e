"""Measures the routing of a site that is up, with destinations on this machine: `hapacs.bench.backlog`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from hapacs.bench import backlog, footprint
from hapacs.bench.backlog import OnStep, Options
from hapacs.errors import HapacsError, RefusedError
from hapacs.load import burst
from hapacs.load.burst import Outcome
from hapacs.load.images import Study
from hapacs.site import node_program
from hapacs.site.access import NodeError, Site
from hapacs.site.database import Database

_TIMEOUT_S = 60
_CURRENT = "select document from hapacs.ruleset"


@dataclass
class Subject:
    """A site that is up. It remembers what was stored without the pixels."""

    site: Site
    database: Database
    stored: list[Study] = field(default_factory=list)

    @property
    def host(self) -> str:
        """The address at which the nodes reach this machine."""
        return self.site.destination[1]

    def rules(self) -> dict[str, Any]:
        """Return the rules of the site."""
        found: dict[str, Any] = json.loads("".join(self.rows(_CURRENT)) or "{}")
        return found

    def load(self, routing: Mapping[str, Any]) -> None:
        """Make these the rules of the site, by the program of its first node that answers."""
        words = ("sudo", node_program.PROGRAM, "route", "load", "/dev/stdin")
        for node in self.site.members("pacs"):
            with suppress(NodeError):
                self.site.run(node, words, json.dumps(routing), _TIMEOUT_S)
                return
        raise HapacsError(f"No node of {self.site.name} takes rules.", "`hapacs status` says more.")

    def send(self, studies: Sequence[Study]) -> Outcome:
        """Store studies at the virtual address."""
        for study in studies:
            images = tuple(replace(image, dataset=b"") for image in study.images)
            self.stored.append(replace(study, images=images))
        return burst.send(self.site.caller, self.site.store_peer, studies)

    def store(self, studies: Sequence[Study]) -> list[str]:
        """Store studies at the virtual address, and return why images were refused."""
        return self.send(studies).failures

    def rows(self, sql: str) -> list[str]:
        """Run statements on the database."""
        return self.database.rows(sql)


def run(site: Site, options: Options, on_step: OnStep = lambda _: None) -> dict[str, Any]:
    """Measure, and then remove what was stored and load the rules that were there.

    Raises
    ------
    RefusedError
        When the deployment isn't a lab: meanwhile the rules of the site are not applied.
    HapacsError
        When a disk has too little space, dcmtk is missing, or the site isn't healthy.
    """
    if not site.deployment.settings.target.expendable:
        raise RefusedError("The rules of a site are replaced in a lab only.", "`hapacs bench routing lab`")
    on_step("looking for room")
    footprint.require_room(site, options.instances * 2 * options.rows**2)
    subject = Subject(site, Database.of(site))
    before = subject.rules()
    try:
        return backlog.run(subject, options, on_step)
    finally:
        subject.load(before)
        on_step("removing what was stored")
        footprint.remove(site, subject.stored)
