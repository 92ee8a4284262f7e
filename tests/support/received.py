"""What the storing title takes where Orthanc decides, not its configuration. The list of storage classes is DCMTK's.

`tests/molecule/node` compares both with an association; `docs/conformance.md` is written from them.
"""

from pydicom._uid_dict import UID_dictionary

# pydicom's dictionary does not have them either.
YOUNGER = {
    "1.2.840.10008.5.1.4.1.1.9.100.1": "Waveform Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.9.100.2": "Waveform Acquisition Presentation State Storage",
}
# Objects without a patient, directories of media, and classes that are younger than DCMTK 3.6.9.
NOT_STORED = frozenset(
    {
        "1.2.840.10008.1.3.10",
        *(f"1.2.840.10008.5.1.4.{end}" for end in ("38.1", "39.1", "43.1", "44.1", "45.1")),
        *(f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("200.1", "200.3", "200.7", "201.1")),
        *YOUNGER,
    }
)
# Encapsulated but not compressed, fragmentable video, JPEG XL, HTJ2K, MIME, XML, real-time video, Papyrus, deflated
# frames.
UNKNOWN_TO_ORTHANC = frozenset(
    {
        "1.2.840.10008.1.2.1.98",
        *(f"1.2.840.10008.1.2.4.{number}.1" for number in range(100, 107)),
        *(f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112, 201, 202, 203, 204)),
        *(f"1.2.840.10008.1.2.{end}" for end in ("6.1", "6.2", "7.1", "7.2", "7.3", "8.1")),
        "1.2.840.10008.1.20",
    }
)


def storage_classes() -> dict[str, str]:
    """Return all storage classes of DICOM with their names."""
    known = {
        uid: name
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class" and "Storage" in name and "Commitment" not in name
    }
    return known | YOUNGER


def transfer_syntaxes() -> list[str]:
    """Return all transfer syntaxes of DICOM."""
    return [uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "Transfer Syntax"]
