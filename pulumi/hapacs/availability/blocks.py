"""What the report of a month says, as blocks that the page and the PDF show in the same words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["kept", "missed", "unknown"]


@dataclass(frozen=True)
class Heading:
    """A heading.

    Attributes
    ----------
    level
        1 to 2.
    """

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph.

    Attributes
    ----------
    strong
        Whether it is the sentence that everybody reads.
    """

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Note:
    """Something that limits what the numbers say.

    Attributes
    ----------
    lines
        A list below the text.
    """

    text: str
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Column:
    """A column of a table; `number` stands to the right, `name` says what the row is about."""

    title: str
    kind: Literal["text", "number", "name", "verdict"] = "text"


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes
    ----------
    rows
        Texts, one for each column.
    verdicts
        How each row ended, for tables with a column of that kind.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    verdicts: Sequence[Verdict] = ()


Block = Heading | Paragraph | Note | Table

_MEASURED = (
    "Two probes store, find and retrieve a marked image every minute, by DICOM and by DICOMweb. An hour counts with "
    "the share of its tries that failed, or that took too long. The budget is the share that may be bad in the hours "
    "that were measured; hours without numbers count neither way. Incidents are taken each minute; a shorter one may "
    "be missing. Drills count in the objectives as everything else does."
)


def of(found: Mapping[str, Any]) -> list[Block]:
    """Return the blocks of a report.

    Parameters
    ----------
    found
        As `hapacs.availability.page.document` makes it.
    """
    blocks: list[Block] = [
        Heading(1, title(found)),
        Paragraph(
            f"From {found['begin']} to {found['end']} UTC, {found['hours']} hours. Written {found['made_at']} UTC."
        ),
    ]
    if not found["complete"]:
        blocks.append(Note("The month is not over. Budgets are those of the time until now."))
    blocks += [Note(line) for line in found["missing"]]
    for site in found["sites"]:
        blocks += _site(site)
    blocks.append(Heading(2, "Drills"))
    blocks += _drills(found["drills"])
    return [*blocks, Heading(2, "How this was measured"), Paragraph(_MEASURED)]


def title(found: Mapping[str, Any]) -> str:
    """Return the title of a report."""
    return f"Availability of {found['deployment']}, {found['month']}"


def _site(site: Mapping[str, Any]) -> Iterable[Block]:
    yield Heading(2, f"Site {site['name']}")
    verdicts = [one["verdict"] for one in site["objectives"]]
    kept, missed = verdicts.count("kept"), verdicts.count("missed")
    incidents = f"Incidents: {len(site['incidents'])}." if site["measured"] else "Incidents are not known."
    unmeasured = len(verdicts) - kept - missed
    yield Paragraph(
        f"{kept} of {len(verdicts)} objectives were kept, {missed} missed, {unmeasured} not measured. {incidents}",
        strong=True,
    )
    if site["missing"]:
        yield Note("Part of the numbers is missing:", site["missing"])
    yield _objectives(site["objectives"])
    if site["incidents"]:
        columns = [
            Column("from (UTC)"), Column("minutes", "number"), Column("alert", "name"), Column("about"),
            Column("during"),
        ]  # fmt: skip
        rows = [
            (one["begin"], str(one["minutes"]), words(one["what"]), one["where"], ", ".join(one["during"]))
            for one in site["incidents"]
        ]
        yield Table("Incidents: alerts that wake somebody", columns, rows)
    if site["tickets"]:
        columns = [Column("alert", "name"), Column("times", "number"), Column("minutes", "number")]
        tickets = [(words(one["what"]), str(one["times"]), str(one["minutes"])) for one in site["tickets"]]
        yield Table("Alerts that could wait", columns, tickets)
    if site["planned"]:
        columns = [Column("from (UTC)"), Column("to"), Column("node", "name")]
        yield Table(
            "Planned work: nodes that were drained", columns,
            [(one["begin"], one["end"], one["what"]) for one in site["planned"]],
        )  # fmt: skip


def _objectives(objectives: Sequence[Mapping[str, Any]]) -> Table:
    columns = (
        Column("objective", "name"), Column("promised", "number"), Column("reached", "number"),
        Column("budget used", "number"), Column("hours measured", "number"), Column("verdict", "verdict"),
        Column("worst days"),
    )  # fmt: skip
    rows = [
        (
            one["about"],
            percent(one["target"]),
            percent(one["good"]),
            "unknown" if one["used"] is None else f"{one['used'] * 100:.0f} %",
            str(one["hours"]),
            one["verdict"],
            "; ".join(f"{day}: {percent(1 - bad)}" for day, bad in one["worst"]),
        )
        for one in objectives
    ]
    verdicts: list[Verdict] = [
        one["verdict"] if one["verdict"] in {"kept", "missed"} else "unknown" for one in objectives
    ]
    return Table("Objectives", columns, rows, verdicts)


def _drills(drills: Sequence[Mapping[str, Any]]) -> Iterable[Block]:
    if not drills:
        yield Paragraph("No drill was run in this month.")
        return
    yield Paragraph("A drill breaks the site on purpose while it stores, and checks every image that was acknowledged.")
    columns = (
        Column("when (UTC)"), Column("what happened", "name"), Column("outage", "number"), Column("allowed", "number"),
        Column("images", "number"), Column("lost", "number"), Column("verdict", "verdict"),
    )  # fmt: skip
    rows, verdicts = [], list[Verdict]()
    for one in drills:
        said = "proved nothing" if one["void"] else "passed" if one["ok"] else "failed"
        verdicts.append("unknown" if one["void"] else "kept" if one["ok"] else "missed")
        rows.append((
            one["begin"], one["sentence"], f"{one['outage_s']} s", f"{one['deadline_s']} s", str(one["acknowledged"]),
            str(one["lost"] + one["corrupted"]), said,
        ))  # fmt: skip
    yield Table("", columns, rows, verdicts)


def percent(share: float | None) -> str:
    """Return a share as people read it; never 100 % when anything was bad.

    Parameters
    ----------
    share
        None: not measured.
    """
    if share is None:
        return "unknown"
    # Cut, not rounded: 99.9996 % must not be read as all.
    return f"{int(share * 100_000 + 1e-6) / 1000:.3f}".rstrip("0").rstrip(".") + " %"


def words(name: str) -> str:
    """Return the name of an alert as words."""
    return re.sub(r"(?<=[a-z])([A-Z])", lambda match: f" {match[1].lower()}", name)
