"""Converts the text of a file's header to UTF-8, for a patient's name that its character set can't write."""

from pydicom import Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from hapacs_node.query import dicom_json

# Value representations whose text is in the character set of the file (PS3.5 6.1.2.2).
_TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_UTF_8 = "ISO_IR 192"


def converted(header: bytes, undeclared: str) -> bytes:
    """Return the elements of a file before its pixel data, with their text in UTF-8.

    Parameters
    ----------
    header : bytes
        A file without its pixel data.
    undeclared : str
        Character set of a file that declares none.

    Raises
    ------
    Exception
        Any kind, when an element can't be read.
    """
    dataset, _ = dicom_json.read(header, undeclared)
    implicit, little = dataset.original_encoding
    _decode(dataset)
    dataset.SpecificCharacterSet = _UTF_8
    # Otherwise numbers that can't be read would be converted too.
    dataset.set_original_encoding(implicit, little, "utf8")
    made = DicomBytesIO()
    made.is_implicit_VR, made.is_little_endian = bool(implicit), bool(little)
    write_dataset(made, dataset)
    return made.getvalue()


def _decode(dataset: Dataset) -> None:
    """Read the text of a data set and its items; everything else stays as it is encoded."""
    for raw in list(dataset.values()):
        vr = raw.VR
        if isinstance(raw, RawDataElement) and (vr is None or vr == "UN"):
            vr = dictionary_VR(raw.tag) if dictionary_has_tag(raw.tag) else vr
        if vr == "SQ" or vr in _TEXT:
            value = dataset[raw.tag].value
            for item in value if isinstance(value, Sequence) else ():
                _decode(item)
                item.pop("SpecificCharacterSet", None)
