"""Writes the manifests that are missing, and reads those that the archive has."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from hapacs_node import log
from hapacs_node.catalog import manifest
from hapacs_node.catalog.database import Database
from hapacs_node.errors import CasConflictError, NodeError
from hapacs_node.manifest import document
from hapacs_node.manifest.document import Line, ManifestError, Name
from hapacs_node.storage import names
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.client import Listed
from hapacs_node.storage.listing import listed

_LOG = log.get("integrity")
SETTLED = timedelta(hours=1)
"""A day is listed when it ended so long ago: far above the longest store."""


@dataclass
class Manifests:
    """The manifests of a site's archive.

    Parameters
    ----------
    site : str
        Name of the site.
    database : Database
        Catalog and index.
    cas : Cas
        The archive.
    """

    site: str
    database: Database
    cas: Cas

    def lacking(self, now: datetime) -> list[date]:
        """Return the days without a manifest since the first image was stored, the latest first.

        Raises
        ------
        NodeError
        """
        first = self.database.run(manifest.first_stored)
        if first is None:
            return []
        have = self.complete()
        day, oldest = (now - SETTLED).date() - timedelta(days=1), first.astimezone(UTC).date()
        days = (day - timedelta(days=number) for number in range((day - oldest).days + 1))
        return [one for one in days if one not in have]

    def complete(self) -> dict[date, list[Listed]]:
        """Return the days whose manifest is in the archive with all its parts, each with these parts in their order.

        Raises
        ------
        NodeError
        """
        runs: dict[tuple[date, UUID], dict[int, tuple[Name, Listed]]] = defaultdict(dict)
        for one in listed(self.cas.gateways, names.MANIFESTS, self.cas.deadline_s):
            if (name := Name.of(one.key)) is not None:
                runs[name.day, name.run][name.number] = name, one
        found: dict[date, list[Listed]] = {}
        for (day, _), numbered in sorted(runs.items()):
            run = [numbered[number] for number in sorted(numbered)]
            if run[-1][0].last and len(run) == run[-1][0].number + 1:
                found.setdefault(day, [one for _, one in run])
        return found

    def write(self, day: date) -> int:
        """Write the manifest of a day, and return how many parts it has.

        Raises
        ------
        NodeError
            When the archive did not lock it, or a place does not answer. What was written of it counts for nothing: its
            last part is missing.
        """
        start = datetime.combine(day, time(), UTC)
        end = start + timedelta(days=1)
        stored, removed = manifest.stored(self.database, start, end), manifest.removed(self.database, start, end)
        written = 0
        for name, content in document.parts(self.site, day, stored, removed):
            self.cas.put_manifest(name.key, content)
            if self.cas.lock(name.key).mode is None:
                raise NodeError(f"the archive did not lock {name.key}: run `hapacs up`, which sets its retention")
            written += 1
        _LOG.info(log.line("manifest_written", day=day.isoformat(), parts=written))
        return written

    def lines(self, part: Listed) -> list[Line]:
        """Read a part.

        Raises
        ------
        NodeError
            When it can't be read.
        """
        try:
            return document.lines(self.cas.part(part.key, 0, part.size))
        except ManifestError as error:
            raise CasConflictError(f"{part.key} is damaged: {error}") from error
