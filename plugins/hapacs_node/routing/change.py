"""Changes of attributes in the copy that leaves. The stored bytes are never touched."""

from collections.abc import Sequence
from io import BytesIO

from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.tag import BaseTag

from hapacs_node.routing import attributes
from hapacs_node.routing.model import Change


def changed(content: bytes, changes: Sequence[Change]) -> bytes:
    """Return a DICOM file with some attributes changed, in the same transfer syntax."""
    dataset = dcmread(BytesIO(content))
    for change in changes:
        tag = attributes.parse(change.attribute).tag
        if tag is None:
            raise ValueError(f"{change.attribute} is not an attribute of the image")
        _apply(dataset, tag, change)
    output = BytesIO()
    dataset.save_as(output, enforce_file_format=False)
    return output.getvalue()


def _apply(dataset: Dataset, tag: BaseTag, change: Change) -> None:
    if change.remove:
        dataset.pop(tag, None)
    elif change.replace is not None:
        vr = dataset[tag].VR if tag in dataset else dictionary_VR(tag)
        dataset.add_new(tag, vr, change.replace)
    elif change.add is not None:
        if tag not in dataset or not dataset[tag].VM:
            dataset.add_new(tag, dataset[tag].VR if tag in dataset else dictionary_VR(tag), change.add)
    elif tag in dataset:
        element = dataset[tag]
        several = element.value if element.VM > 1 else [element.value] if element.VM else []
        mapped = change.map or {}
        # A prefix and a map are never given together.
        new = [f"{change.prefix}{value}" if change.prefix else mapped.get(str(value), value) for value in several]
        element.value = new or element.value
