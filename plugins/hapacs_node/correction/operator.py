"""What an operator asks for: a study or a series is hidden, shown again, or deleted."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from hapacs_node import log
from hapacs_node.catalog import corrections, received
from hapacs_node.catalog.corrections import Correction, Reason
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.received import ReceivedSeries, Removed
from hapacs_node.correction.patient import values_of
from hapacs_node.errors import NodeError, RefusedError

_LOG = log.get("correction")

type Remove = Callable[[str], None]
"""Has Orthanc remove what a path such as ``/series/ID`` names."""


@dataclass(frozen=True)
class Outcome:
    """What a correction did, or would do.

    Attributes
    ----------
    what : str
        Name of the command.
    study, series : str
        Its UIDs; the series is empty for the whole study.
    images : int
        Images in the index that it is about.
    done : bool
        Whether something was changed.
    number : int or None
        Number of the correction; None when nothing was changed.
    detail : str
        Why nothing was changed.
    before, after : dict
        Attributes of the patient by keyword that clients got until now, and will get.
    studies : tuple of str
        All studies of a merge.
    """

    what: str
    study: str
    series: str
    images: int
    done: bool
    number: int | None = None
    detail: str = ""
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    studies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shown:
    """What is known of a study.

    Attributes
    ----------
    study : str
        Its UID.
    patient : dict
        Attributes of the patient by keyword that clients get.
    series : list of ReceivedSeries
        Its series in the index.
    removed : Removed
        Its images that were removed.
    corrections : list of Correction
        All of them, also those that were undone.
    """

    study: str
    patient: dict[str, str]
    series: list[ReceivedSeries]
    removed: Removed
    corrections: list[Correction]

    @property
    def is_known(self) -> bool:
        """Whether there is anything of it."""
        return bool(self.series or self.removed.images or self.corrections)


@dataclass(frozen=True)
class Corrector:
    """Corrects studies of a site. All nodes go by the same table at once.

    Parameters
    ----------
    database : Database
        The catalog's.
    """

    database: Database

    def show(self, study: str) -> Shown:
        """Report what is known of a study.

        Raises
        ------
        NodeError
            When the catalog doesn't answer.
        """
        return self.database.run(
            lambda c: Shown(
                study,
                values_of(corrections.patient_of(c, study) or {}),
                received.series(c, study),
                received.removed(c, study),
                corrections.of_study(c, study),
            )
        )

    def hide(self, study: str, series: str, reason: Reason, *, dry: bool) -> Outcome:
        """Hide a study or a series: it is not found and not given, and its images that come later neither.

        Raises
        ------
        RefusedError
            When the index has no image of it.
        NodeError
            When the catalog doesn't answer.
        """
        found = self._known(study, series)
        if self.database.run(lambda c: corrections.in_force(c, "hide", study, series)):
            return Outcome("hide", study, series, _images(found), done=False, detail="it is hidden already")
        number = None if dry else self.database.run(lambda c: corrections.add(c, "hide", study, series, reason))
        return _outcome("hide", study, series, _images(found), number=number, reason=reason)

    def unhide(self, study: str, series: str, reason: Reason, *, dry: bool) -> Outcome:
        """Show a study or a series again.

        Raises
        ------
        RefusedError
            When it is not hidden.
        NodeError
            When the catalog doesn't answer.
        """
        if not self.database.run(lambda c: corrections.in_force(c, "hide", study, series)):
            raise RefusedError(f"{_named(study, series)} is not hidden: `study show` lists what is")
        found = self._of(study, series)
        number = None if dry else self.database.run(lambda c: corrections.end(c, "hide", study, series, reason))
        return _outcome("unhide", study, series, _images(found), number=number, reason=reason)

    def delete(self, study: str, series: str, reason: Reason, remove: Remove, *, dry: bool) -> Outcome:
        """Delete a study or a series. Each image gets a tombstone, its bytes stay, and it can be restored.

        Raises
        ------
        RefusedError
            When the index has no image of it.
        NodeError
            When the catalog or Orthanc doesn't answer. It can be repeated.
        """
        found = self._known(study, series)
        if dry:
            return Outcome("delete", study, series, _images(found), done=False)
        # First the record: nothing is removed without who and why.
        number = self.database.run(lambda c: corrections.add(c, "delete", study, series, reason))
        for one in found:
            remove(f"/series/{one.resource}")
        if left := _images(self._of(study, series)):
            raise NodeError(f"{left} images of {_named(study, series)} are in the index still: try again")
        return _outcome("delete", study, series, _images(found), number=number, reason=reason)

    def restored(self, study: str, who: str) -> None:
        """Record that the deleted images of a study are in the index again."""
        reason = Reason(who, "restored")
        for uid in {one.series for one in self.database.run(lambda c: corrections.of_study(c, study))}:
            self.database.run(partial(corrections.end, kind="delete", study=study, series=uid, reason=reason))

    def _of(self, study: str, series: str) -> list[ReceivedSeries]:
        found = self.database.run(lambda c: received.series(c, study))
        return [one for one in found if series in {"", one.uid}]

    def _known(self, study: str, series: str) -> list[ReceivedSeries]:
        if not (found := self._of(study, series)):
            raise RefusedError(f"the index has no image of {_named(study, series)}: check the UID")
        return found


def _named(study: str, series: str) -> str:
    return f"series {series} of study {study}" if series else f"study {study}"


def _images(found: Iterable[ReceivedSeries]) -> int:
    return sum(one.images for one in found)


def _outcome(what: str, study: str, series: str, images: int, *, number: int | None, reason: Reason) -> Outcome:
    """Return what was done, and log it: by UID, because the reason may name a patient."""
    if number is not None:
        about = {"study": study, "series": series or None, "who": reason.who, "number": number, "images": images}
        _LOG.warning(log.line("study_corrected", what=what, **about))
    return Outcome(what, study, series, images, number is not None, number)
