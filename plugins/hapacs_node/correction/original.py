"""The item of the Original Attributes Sequence that says what a correction replaced (PS3.3 C.12.1, table C.12-1)."""

from hapacs_node.correction import patient
from hapacs_node.correction.patient import Move
from hapacs_node.query import dicom_json
from hapacs_node.query.dicom_json import Json

SEQUENCE, MODIFIED = "04000561", "04000550"


def about(move: Move) -> Json:
    """Return the attributes of the item without the modified ones: when, by what system, from where, and why."""
    return {
        "04000562": {"vr": "DT", "Value": [move.at]},
        "04000563": {"vr": "LO", "Value": ["HAPACS"]},
        # The catalog knows who sent the image, which is no name of an institution.
        "04000564": {"vr": "LO"},
        "04000565": {"vr": "CS", "Value": ["CORRECT"]},
    }


def corrected(whole: Json, move: Move) -> Json:
    """Return the attributes of an image with the patient of a move, in the DICOM JSON model."""
    before = {key: element for key, element in whole.items() if patient.is_patients(key)}
    item = {MODIFIED: {"vr": "SQ", "Value": [before]}, **about(move)}
    items = [*whole.get(SEQUENCE, {}).get("Value", ()), item]
    made = patient.replaced(whole, move.patient) | {SEQUENCE: {"vr": "SQ", "Value": items}}
    made[dicom_json.CHARACTER_SET] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    return dict(sorted(made.items()))
