"""What the storing title takes where Orthanc decides, not its configuration. The list of storage classes is DCMTK's.

`tests/molecule/node` compares both with an association; `docs/conformance.md` is written from them.
"""

from pydicom._uid_dict import UID_dictionary

from hapacs import sop_classes

# Encapsulated but not compressed, fragmentable video, JPIP of HTJ2K, MIME, XML, real-time video, Papyrus, deflated
# frames.
UNKNOWN_TO_ORTHANC = frozenset(
    {
        "1.2.840.10008.1.2.1.98",
        *(f"1.2.840.10008.1.2.4.{number}.1" for number in range(100, 107)),
        *(f"1.2.840.10008.1.2.4.{number}" for number in (204,)),
        *(f"1.2.840.10008.1.2.{end}" for end in ("6.1", "6.2", "7.1", "7.2", "7.3", "8.1")),
        "1.2.840.10008.1.20",
    }
)


def storage_classes() -> dict[str, str]:
    """Return all storage classes of DICOM with their names."""
    known = [*UID_dictionary, *sop_classes.YOUNGER]
    return {uid: sop_classes.name(uid) for uid in known if sop_classes.is_storage(uid)}


def transfer_syntaxes() -> list[str]:
    """Return all transfer syntaxes of DICOM."""
    return [uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "Transfer Syntax"]
