"""Made entries of the worklist."""

from typing import Any

from pydicom import Dataset
from pydicom.uid import generate_uid


def entry(step: dict[str, object] | None = None, **attributes: object) -> Dataset:
    """Make an entry for one scheduled procedure step; keywords replace its attributes, None removes one."""
    item, made = Dataset(), Dataset()
    of_step: dict[str, object] = {
        "ScheduledStationAETitle": "CT1",
        "ScheduledProcedureStepStartDate": "20300105",
        "ScheduledProcedureStepStartTime": "103000",
        "Modality": "CT",
        "ScheduledPerformingPhysicianName": "Hand^Steady",
        "ScheduledProcedureStepDescription": "CT of the field",
        "ScheduledProcedureStepID": "S1",
    }
    whole: dict[str, object] = {
        "AccessionNumber": "A1",
        "PatientName": "Müller^Jörg",
        "PatientID": "FT1",
        "PatientBirthDate": "19700101",
        "PatientSex": "O",
        "StudyInstanceUID": generate_uid(),
        "RequestedProcedureID": "R1",
        "RequestedProcedureDescription": "CT",
    }
    for dataset, values in ((item, {**of_step, **(step or {})}), (made, {**whole, **attributes})):
        for keyword, value in values.items():
            if value is not None:
                setattr(dataset, keyword, value)
    made.ScheduledProcedureStepSequence = [item]
    return made


def document(step: dict[str, object] | None = None, **attributes: object) -> dict[str, Any]:
    """Make such an entry in the DICOM JSON model."""
    return entry(step, **attributes).to_json_dict()
