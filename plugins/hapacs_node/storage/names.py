"""Names of stored bytes: their SHA-256, so that a name can be checked and equal bytes are stored once."""

import hashlib
import re
from collections.abc import Buffer
from datetime import UTC, datetime
from uuid import UUID, uuid4

from hapacs_node.errors import RefusedError

OBJECTS = "sha256"
"""Folder of objects on the DAS and in the archive."""
PACKS = "packs"
"""Folder of packs in the archive."""
MANIFESTS = "manifests"
"""Folder of manifests in the archive."""
DERIVED = "derived"
"""Folder of derived attachments on the DAS."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


def digest_of(content: Buffer) -> str:
    """Compute the SHA-256 of bytes, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def checked_digest(text: str) -> str:
    """Return `text` when it is a digest, so that no other text becomes a path or a key.

    Raises
    ------
    RefusedError
    """
    if _DIGEST.fullmatch(text) is None:
        raise RefusedError("a digest is 64 hexadecimal digits in lower case")
    return text


def checked_uuid(text: str) -> UUID:
    """Return Orthanc's name of an attachment as a UUID.

    Raises
    ------
    RefusedError
        When it is not the canonical form.
    """
    try:
        uuid = UUID(text)
    except ValueError:
        uuid = None
    if uuid is None or str(uuid) != text:
        raise RefusedError("an attachment's name is a UUID in lower case")
    return uuid


def cas_key(digest: str) -> str:
    """Return the archive key of these bytes."""
    return f"{OBJECTS}/{_spread(checked_digest(digest))}"


def spare_key(digest: str) -> str:
    """Make a new, unique archive key for these bytes, in addition to `cas_key`."""
    return f"{cas_key(digest)}.{uuid4()}"


def pack_key() -> str:
    """Make a new, unique archive key for a pack. The packs of a day are in one folder."""
    return f"{PACKS}/{datetime.now(UTC):%Y-%m-%d}/{uuid4()}.tar"


def folder_of(key: str) -> str:
    """Return the archive folder of a key. A key in no folder of ours stands for itself, so that the order is kept."""
    return "/".join(key.split("/")[: 2 if key.startswith(f"{PACKS}/") else 3])


def das_path(digest: str) -> tuple[str, ...]:
    """Return the DAS path of these bytes, folder by folder below the root."""
    return (OBJECTS, *_spread(checked_digest(digest)).split("/"))


def derived_path(uuid: UUID) -> tuple[str, ...]:
    """Return the DAS path of a derived attachment, folder by folder below the root."""
    return (DERIVED, *_spread(str(uuid)).split("/"))


def _spread(name: str) -> str:
    # Two levels of 256 folders: a hundred million files are about 1500 in each folder.
    return f"{name[:2]}/{name[2:4]}/{name}"
