"""Studies of a site: they are shown, corrected, deleted and restored by a node's own program, `hapacs-node study`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from hapacs.errors import HapacsError, UsageError
from hapacs.site import node_program
from hapacs.site.access import HTTPS_PORTS, Node, Site
from hapacs.site.collect import collect

Correction = Literal["hide", "unhide", "move", "unmove", "merge"]

_UID = re.compile(r"[0-9.]{1,64}")
# Removals of an older program are read one by one, and the images of a study are stored one by one.
_LIST_TIMEOUT_S, _RESTORE_TIMEOUT_S, _CORRECT_TIMEOUT_S = 600, 4 * 3600, 120

# Those that name a patient.
_BY_DOCUMENT = frozenset({"move", "merge"})


def deleted(site: Site, since: str | None) -> dict[str, Any]:
    """List the studies of which images were deleted, as the first node that answers reports them.

    Parameters
    ----------
    since
        Only what was deleted since then, ISO 8601 in UTC.
    """
    words = ("study", "deleted", *(("--since", since) if since else ()))
    return node_program.first_report(site, words, _LIST_TIMEOUT_S)


def restore(site: Site, study: str) -> dict[str, Any]:
    """Have the node that stores now restore the deleted images of a study.

    Raises
    ------
    UsageError
        When it is no UID.
    HapacsError
        When no node stores, or it does not answer.
    """
    _check(study)
    node, url = storing_url(site)
    operator = node_program.operator()
    words = ("study", "restore", study, "--store", url, "--operator", operator)
    return node_program.report(site, node, words, _RESTORE_TIMEOUT_S)


@dataclass(frozen=True)
class Asked:
    """A correction that an operator asks for.

    Attributes
    ----------
    study, series
        UIDs; the series is empty for the whole study.
    who, why
        Who asks for it, and the reason.
    yes
        Whether it is done. Else the report says what would be done.
    patient, like
        For `move` and `merge`: attributes of the other patient by keyword, or a study that has it.
    merged
        For `merge`: ID and issuer of the patient whose studies are moved.
    """

    study: str
    series: str
    who: str
    why: str
    yes: bool
    patient: dict[str, str] = field(default_factory=dict)
    like: str = ""
    merged: dict[str, str] = field(default_factory=dict)

    def words(self, what: str) -> tuple[str, ...]:
        """Return the words of the node's command; see `text` for the rest."""
        for uid in filter(None, (self.study, self.series, self.like)):
            _check(uid)
        study = (self.study,) if self.study else ()
        yes = ("--yes",) if self.yes else ()
        who = ("--who", self.who or node_program.operator())
        if what in _BY_DOCUMENT:
            return "study", what, *study, *yes, *who
        series = ("--series", self.series) if self.series else ()
        return "study", what, *study, *series, *yes, *who, "--why", "-"

    def text(self, what: str) -> str:
        """Return what the node's command reads: sudo writes words to the journal, and these may name a patient."""
        if what not in _BY_DOCUMENT:
            return self.why
        return json.dumps({"why": self.why, "patient": self.patient, "like": self.like, "merged": self.merged})


def show(site: Site, study: str) -> dict[str, Any]:
    """Report patient IDs, series, callers, corrections and removed images of a study.

    Raises
    ------
    UsageError
        When it is no UID.
    HapacsError
        When no node answers.
    """
    _check(study)
    return node_program.first_report(site, ("study", "show", study), _CORRECT_TIMEOUT_S)


def correct(site: Site, what: Correction, asked: Asked) -> dict[str, Any]:
    """Correct studies; what is asked for is the same on all nodes.

    Raises
    ------
    UsageError
        When a UID is none.
    HapacsError
        When no node answers, or it refuses.
    """
    return _done(node_program.first_report(site, asked.words(what), _CORRECT_TIMEOUT_S, asked.text(what)))


def delete(site: Site, asked: Asked) -> dict[str, Any]:
    """Have the node that stores now delete a study or a series.

    Raises
    ------
    UsageError
        When a UID is none.
    HapacsError
        When no node stores, or it does not answer.
    """
    words = asked.words("delete")
    node, url = storing_url(site)
    return _done(node_program.report(site, node, (*words, "--store", url), _RESTORE_TIMEOUT_S, asked.text("delete")))


def _done(report: dict[str, Any]) -> dict[str, Any]:
    if error := report.get("error"):
        raise HapacsError(f"{error}.", "`hapacs study show` says what is known of a study.")
    return report


def _check(uid: str) -> None:
    if not _UID.fullmatch(uid):
        raise UsageError(f"{uid!r} is not a UID (at most 64 digits and dots).", "Give the Study Instance UID.")


def storing_url(site: Site) -> tuple[Node, str]:
    """Return the node that the balancers chose to store, or else one that can, and the URL of its Orthanc.

    Raises
    ------
    HapacsError
        When no node can store.
    """
    for name in collect(site).writers or [node.name for node in site.members("pacs")]:
        status, _ = site.hapacs(name, "store", "health")
        if status == 200:  # noqa: PLR2004 - HTTP OK
            node = site.nodes[name]
            return node, f"https://{node.address}:{HTTPS_PORTS['store']}"
    raise HapacsError(f"No node of {site.name} can store now.", "`hapacs status` says why.")
