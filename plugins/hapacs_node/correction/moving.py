"""Moves studies to another patient: one study, or all of a patient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hapacs_node import log
from hapacs_node.catalog import corrections, received
from hapacs_node.catalog.corrections import Reason
from hapacs_node.catalog.database import Database
from hapacs_node.correction import patient
from hapacs_node.correction.operator import Outcome
from hapacs_node.errors import BadRequestError, RefusedError
from hapacs_node.query.dicom_json import Json

_LOG = log.get("correction")
_ID, _ISSUER = "PatientID", "IssuerOfPatientID"
_NAMED_STUDIES = 5


@dataclass(frozen=True)
class Target:
    """The patient to whom studies are moved.

    Attributes
    ----------
    values : mapping
        Attributes by keyword. With no more than ID and issuer, the others come from a study of that patient.
    like : str
        Study Instance UID of a study that has the patient; then there are no values.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    like: str = ""


@dataclass(frozen=True)
class Mover:
    """Moves studies to another patient.

    Parameters
    ----------
    database : Database
        The catalog's.
    """

    database: Database

    def move(self, study: str, target: Target, reason: Reason, *, dry: bool) -> Outcome:
        """Move a study, also one that was received under several patient IDs: all its images get the patient.

        Raises
        ------
        RefusedError
            When the index has no image of the study, or the patient is not certain.
        NodeError
            When the catalog doesn't answer.
        """
        found = self.database.run(lambda c: received.series(c, study))
        if not found:
            raise RefusedError(f"the index has no image of study {study}: check the UID")
        images = sum(one.images for one in found)
        return self._move("move", {study: self._patient_of(study)}, target, reason, images=images, dry=dry)

    def merge(self, values: Mapping[str, str], target: Target, reason: Reason, *, dry: bool) -> Outcome:
        """Move all studies of a patient. Studies of that patient that are stored later are not moved.

        Parameters
        ----------
        values : mapping
            Patient ID and, when it matters, issuer of the patient whose studies are moved.
        target : Target
            The other patient.
        reason : Reason
            Who and why.
        dry : bool
            Whether to report only.

        Raises
        ------
        RefusedError
            When the patient has no studies, or the other one is not certain.
        NodeError
            When the catalog doesn't answer.
        """
        studies = self._studies(values)
        if not studies:
            raise RefusedError("no study has the patient ID that is to be merged")
        counts = [self.database.run(lambda c, uid=uid: received.series(c, uid)) for uid in studies]  # type: ignore[misc]
        images = sum(one.images for found in counts for one in found)
        return self._move("merge", studies, target, reason, images=images, dry=dry)

    def unmove(self, study: str, reason: Reason, *, dry: bool) -> Outcome:
        """Give a study with the patient of its files again.

        Raises
        ------
        RefusedError
            When it was not moved.
        NodeError
            When the catalog doesn't answer.
        """
        if not self.database.run(lambda c: corrections.in_force(c, "move", study)):
            raise RefusedError(f"study {study} was not moved: `study show` lists its corrections")
        images = sum(one.images for one in self.database.run(lambda c: received.series(c, study)))
        before = patient.values_of(self._patient_of(study))
        number = None if dry else self.database.run(lambda c: corrections.end(c, "move", study, "", reason))
        if number is not None:
            _LOG.warning(log.line("study_corrected", what="unmove", study=study, who=reason.who, number=number))
        return Outcome("unmove", study, "", images, number is not None, number, before=before)

    def _move(
        self, what: str, studies: Mapping[str, Json], target: Target, reason: Reason, *, images: int, dry: bool
    ) -> Outcome:
        wanted = self._wanted(target)
        former = [patient.values_of(shown) for shown in studies.values()]
        after = patient.values_of(wanted)
        numbers: Sequence[int] = ()
        if not dry:
            numbers = self.database.run(lambda c: corrections.move(c, list(studies), wanted, reason))
            for uid, number in zip(studies, numbers, strict=True):
                _LOG.warning(log.line("study_corrected", what=what, study=uid, who=reason.who, number=number))
        study = next(iter(studies)) if what == "move" else ""
        done = Outcome(what, study, "", images, bool(numbers), next(iter(numbers), None))
        return replace(done, before=former[0], after=after, studies=tuple(studies))

    def _wanted(self, target: Target) -> Json:
        given = {keyword: value for keyword, value in target.values.items() if value}
        if target.like:
            if given:
                raise BadRequestError("a study of the patient is named, so no attribute is to be given")
            return _of_study(self._patient_of(target.like))
        if set(given) - {_ID, _ISSUER}:
            return patient.of_values(given)
        known = self._studies(given)
        if not known:
            raise RefusedError("no study has this patient ID: give name, birth date and sex as well")
        patients = {tuple(sorted(patient.values_of(shown).items())) for shown in known.values()}
        if len(patients) > 1:
            some = ", ".join(list(known)[:_NAMED_STUDIES])
            raise RefusedError(f"the studies of this patient ID have different patients ({some}): name the right study")
        return _of_study(next(iter(known.values())))

    def _studies(self, values: Mapping[str, str]) -> dict[str, Json]:
        wanted = values.get(_ID, "").strip()
        if not wanted:
            raise BadRequestError("the patient ID is empty")
        issuer = values.get(_ISSUER, "").strip() or None
        return self.database.run(lambda c: corrections.of_patient(c, wanted, issuer))

    def _patient_of(self, study: str) -> Json:
        found = self.database.run(lambda c: corrections.patient_of(c, study))
        if found is None:
            raise RefusedError(f"searches do not know study {study}: check the UID")
        return found


def _of_study(shown: Json) -> Json:
    """Take the patient's attributes out of those of a study."""
    values = patient.values_of(shown)
    if not values.get(_ID):
        raise RefusedError("the study that has the patient has no patient ID")
    return patient.made(values)
