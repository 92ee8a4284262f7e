"""Attachments that Orthanc computed from a DICOM file: kept on the DAS only, and made again when they are missing.

Orthanc takes it for granted that an attachment in its index can be read: when reading fails, so does the request. With
this storage area it keeps, beside each file that has pixel data, the file's beginning up to the pixel data (type 3), so
that the tags can be read without the image. It cuts the received bytes and notes the size in its index; so the same cut
of the same file gives the same bytes, and the MD5 that Orthanc noted proves it.
"""

import hashlib
from collections.abc import Callable
from uuid import UUID

from hapacs_node.catalog import index
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.errors import CatalogError

DICOM_AS_JSON = 2
DICOM_UNTIL_PIXEL_DATA = 3
TYPES = frozenset({DICOM_AS_JSON, DICOM_UNTIL_PIXEL_DATA})
"""Everything else is archived. What plugins and users attach comes as type 0: nobody else could make it again."""


def rebuild(catalog: Catalog, uuid: UUID, read_parent: Callable[[UUID], bytes]) -> bytes:
    """Make a derived attachment again.

    Parameters
    ----------
    catalog : Catalog
        Knows the parent.
    uuid : UUID
        The derived attachment.
    read_parent : callable
        Reads the DICOM file.

    Returns
    -------
    bytes
        The same bytes as were lost.

    Raises
    ------
    CatalogError
        When the index doesn't know it, or it is of a kind that isn't made by cutting.
    """
    found = catalog.derived_from(uuid)
    if found is None:
        raise CatalogError(f"the derived attachment {uuid} is lost and has no parent in the index")
    wanted, parent = found
    if wanted.type != DICOM_UNTIL_PIXEL_DATA or {wanted.compression, parent.compression} != {index.UNCOMPRESSED}:
        raise CatalogError(
            f"the derived attachment {uuid} (type {wanted.type}) is lost: delete it, Orthanc computes it when needed"
        )
    content = read_parent(parent.uuid)[: wanted.size]
    if len(content) != wanted.size or wanted.md5 not in {"", hashlib.md5(content, usedforsecurity=False).hexdigest()}:
        raise CatalogError(f"the derived attachment {uuid} can't be made from its parent {parent.uuid}")
    return content
