"""Collects the findings of a run for people and machines; its size is limited, its counts are exact."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.markup import escape
from rich.table import Table

from hapacs_node import log
from hapacs_node.errors import NodeError
from hapacs_node.integrity.findings import NOTES, Finding, Kind
from hapacs_node.integrity.reconcile import Counts
from hapacs_node.integrity.repair import REPAIRED, Repairs

_LOG = log.get("integrity")
_SHOWN = 1000


@dataclass(frozen=True)
class Request:
    """What to repair.

    Attributes
    ----------
    kinds : collection of Kind
        Kinds to repair; none for a dry run.
    only : str or None
        Repair only the finding with this name.
    """

    kinds: Collection[Kind] = ()
    only: str | None = None

    def names(self, finding: Finding) -> bool:
        """Return whether a finding is to be repaired."""
        return finding.kind in self.kinds and self.only in {None, finding.name}


@dataclass
class Report:
    """The outcome of a run. Of each kind the first thousand findings are kept, and counts of all."""

    found: Counter[Kind] = field(default_factory=Counter)
    repaired: Counter[Kind] = field(default_factory=Counter)
    shown: list[dict[str, Any]] = field(default_factory=list)
    failure: str | None = None

    @property
    def left(self) -> Counter[Kind]:
        """Findings that were not repaired."""
        return self.found - self.repaired

    @property
    def open(self) -> int:
        """Faults that were not repaired."""
        return sum(count for kind, count in self.left.items() if kind not in NOTES)

    @property
    def ok(self) -> bool:
        """Whether everything was compared and nothing is wrong any more."""
        return self.failure is None and not self.open

    def take(self, findings: Iterable[Finding], repairs: Repairs, request: Request) -> None:
        """Take the findings one by one, and repair those that are requested.

        When a place does not answer, the run ends, and what was found until then stays in the report.
        """
        try:
            for finding in findings:
                self._take(finding, repairs, request)
        except NodeError as error:
            self.failure = str(error)

    def _take(self, finding: Finding, repairs: Repairs, request: Request) -> None:
        entry: dict[str, Any] = finding.document()
        self.found[finding.kind] += 1
        if request.names(finding):
            try:
                entry |= {"repaired": True, "repair": repairs.repair(finding)}
                self.repaired[finding.kind] += 1
            except NodeError as error:
                entry |= {"repaired": False, "repair": str(error)}
        if self.found[finding.kind] <= _SHOWN:
            self.shown.append(entry)
            if finding.kind not in NOTES and not entry.get("repaired"):
                _LOG.warning(log.line("disagreement", kind=finding.kind, name=finding.name, detail=finding.detail))

    def document(self, counts: Counts) -> dict[str, Any]:
        """Describe it for JSON."""
        return {
            "ok": self.ok,
            "failure": self.failure,
            "compared": asdict(counts),
            "found": dict(self.found),
            "repaired": dict(self.repaired),
            "findings": self.shown,
            "complete": sum(self.found.values()) == len(self.shown),
        }

    def tables(self) -> list[Table]:
        """Make a table of the counts, and one of the findings."""
        counts = Table("kind", "found", "repaired", "", box=None)
        for kind, count in self.found.items():
            hint = "harmless" if kind in NOTES else f"--repair {kind}" if kind in REPAIRED else "see the documentation"
            counts.add_row(kind, f"{count:,}", f"{self.repaired[kind]:,}", hint)
        shown = Table("kind", "name", "particulars", box=None)
        for entry in self.shown:
            shown.add_row(entry["kind"], entry["name"], escape(entry.get("repair") or entry["detail"]))
        return [counts, shown] if self.shown else []
