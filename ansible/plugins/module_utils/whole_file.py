"""Write files atomically, with owner and mode."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Rights(NamedTuple):
    """Owner, group and mode of a file."""

    uid: int
    gid: int
    mode: int


def rights_of(path: str) -> Rights:
    """Return the rights that a file has."""
    status = Path(path).stat()
    return Rights(status.st_uid, status.st_gid, status.st_mode & 0o7777)


def put(path: str, content: bytes, rights: Rights, look: Callable[[str], None] = lambda _: None) -> None:
    """Write a file with owner and mode under a temporary name, then rename it.

    Parameters
    ----------
    look
        Given the name that the whole file has until then; what it raises leaves the present file.
    """
    target = Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchown(file.fileno(), rights.uid, rights.gid)
            os.fchmod(file.fileno(), rights.mode)
            file.flush()
            os.fsync(file.fileno())
        look(temporary)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def keep(path: str, content: bytes, rights: Rights, check_mode: bool) -> bool:
    """Write a file when its content, owner or mode differs; return whether it differed."""
    target = Path(path)
    if target.exists() and rights_of(path) == rights and target.read_bytes() == content:
        return False
    if not check_mode:
        put(path, content, rights)
    return True
