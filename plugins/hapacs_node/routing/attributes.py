"""Names of attributes in rules: DICOM keywords, tags, private tags by their creator, properties of the association."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.tag import BaseTag

_TAG = re.compile(r"([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})")
_PRIVATE = re.compile(r"([0-9A-Fa-f]{4}),([^,\\]{1,64}),([0-9A-Fa-f]{2})")

ASSOCIATION = ("calling_ae", "called_ae", "user")
"""Properties of how an image came, which are not in it: AE titles, or the user of a STOW-RS."""
_ODD = 2


@dataclass(frozen=True)
class Attribute:
    """One attribute of an image.

    Attributes
    ----------
    name : str
        As rules and messages have it.
    tag : BaseTag or None
        The tag; without the block number for a private one. None for a property of the association.
    creator : str
        The private creator; empty for a standard attribute.
    """

    name: str
    tag: BaseTag | None
    creator: str = ""


def parse(name: str) -> Attribute:
    """Read the name of an attribute.

    Raises
    ------
    ValueError
        When there is none with that name.
    """
    if name in ASSOCIATION:
        return Attribute(name, None)
    # Slow to import, and settings without rules do without it.
    from pydicom.datadict import keyword_for_tag, tag_for_keyword  # noqa: PLC0415
    from pydicom.tag import Tag  # noqa: PLC0415

    if match := _TAG.fullmatch(name):
        tag = Tag(int(match[1], 16), int(match[2], 16))
        if tag.group % _ODD:
            raise ValueError(f"{name} is a private tag; write it with its creator, such as 0009,CREATOR,01")
        return Attribute(keyword_for_tag(tag) or name, tag)
    if match := _PRIVATE.fullmatch(name):
        group = int(match[1], 16)
        if group % _ODD == 0:
            raise ValueError(f"{name} has a creator, but its group is even: private groups are odd")
        return Attribute(name, Tag(group, int(match[3], 16)), match[2])
    found = tag_for_keyword(name)
    if found is None:
        raise ValueError(
            f"{name!r} is no attribute; write a keyword such as Modality, a tag such as 0008,0060, a private tag such "
            f"as 0009,CREATOR,01, or one of {', '.join(ASSOCIATION)}"
        )
    return Attribute(name, Tag(found))


def values(dataset: Dataset, attribute: Attribute) -> tuple[str, ...] | None:
    """Return the values of an attribute as text; None when the data set does not have it."""
    tag = attribute.tag
    if tag is None:
        return None
    try:
        if attribute.creator:
            element = dataset.private_block(tag.group, attribute.creator)[tag.element]
        else:
            element = dataset[tag]
    except KeyError:
        return None
    if element.VR == "SQ" or isinstance(element.value, bytes):
        return ()
    value = element.value
    several = value if element.VM > 1 else [] if value is None or value == "" else [value]
    return tuple(str(one).strip() for one in several)
