"""Attachments that Orthanc computed from a DICOM file: stored on the DAS only, and rebuilt when they are missing.

Orthanc expects that every attachment in its index can be read; otherwise the request fails. With each file that has
pixel data Orthanc stores the file's beginning up to the pixel data (type 3), so that it can read the tags without the
image. It cuts the received bytes and records the size in its index. So the same cut of the same file gives the same
bytes, and the MD5 in the index proves it.
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
"""All other types are archived. Attachments of plugins and users have type 0, and can't be rebuilt."""


def rebuild(catalog: Catalog, uuid: UUID, read_parent: Callable[[UUID], bytes]) -> bytes:
    """Rebuild a derived attachment.

    Parameters
    ----------
    catalog : Catalog
        Finds the parent.
    uuid : UUID
        The derived attachment.
    read_parent : callable
        Reads the DICOM file.

    Returns
    -------
    bytes
        The same bytes as before.

    Raises
    ------
    CatalogError
        When it is not in the index, or it is of a type that is not made by cutting.
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
        raise CatalogError(f"the derived attachment {uuid} can't be rebuilt from its parent {parent.uuid}")
    return content
