"""A tombstone that the index still refers to, and bytes on the DAS that no row names."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from drill_base import RefusedError, run

_MARK = "hapacs-drill"
_UUID_LENGTH = 36


class Tombstone:
    """Marks the image that was stored last as removed in the catalog, while the index has it."""

    def __init__(self, fault: dict[str, Any]) -> None:
        self.database = str(fault["database"])

    def plan(self) -> dict[str, Any]:
        """Choose the image."""
        uuid = self._sql(
            "select o.uuid from hapacs.object o join attachedfiles f on f.uuid = o.uuid::text and f.filetype = 1 "
            "where o.tombstoned_at is null order by o.stored_at desc limit 1"
        )
        if len(uuid) != _UUID_LENGTH:
            raise RefusedError("the site has no image")
        return {"uuid": uuid}

    def apply(self, plan: dict[str, Any]) -> None:
        """Mark it."""
        self._sql(
            f"update hapacs.object set tombstoned_at = clock_timestamp(), tombstoned_by = '{_MARK}' "  # noqa: S608 - own
            f"where uuid = '{plan['uuid']}' and tombstoned_at is null"
        )

    def proof(self, plan: dict[str, Any]) -> str:
        """Return that the index refers to a tombstone, or empty."""
        both = self._sql(
            "select count(*) from hapacs.object o join attachedfiles f on f.uuid = o.uuid::text "  # noqa: S608 - own
            f"where o.uuid = '{plan['uuid']}' and o.tombstoned_by = '{_MARK}' and f.filetype = 1"
        )
        return f"the catalog has {plan['uuid']} as removed, and the index refers to it" if both == "1" else ""

    def undo(self, plan: dict[str, Any]) -> None:
        """Take the mark away, unless the site has done so."""
        self._sql(
            "update hapacs.object set tombstoned_at = null, tombstoned_by = null "  # noqa: S608 - own
            f"where uuid = '{plan['uuid']}' and tombstoned_by = '{_MARK}'"
        )

    def _sql(self, statement: str) -> str:
        return run(
            "runuser", "--user", "postgres", "--", "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align",
            "--set=ON_ERROR_STOP=1", self.database, text=statement,
        ).strip()  # fmt: skip


class Stray:
    """Puts bytes on the DAS that no row of the catalog names."""

    def __init__(self, fault: dict[str, Any]) -> None:
        self.directory = Path(fault["directory"])

    def plan(self) -> dict[str, Any]:
        """Choose bytes and their place, which the digest gives."""
        content = os.urandom(4096)
        digest = hashlib.sha256(content).hexdigest()
        like = next((path for path in self.directory.glob("*/*/*") if path.is_file()), None)
        if like is None:
            raise RefusedError(f"{self.directory} has no image")
        path = self.directory / digest[:2] / digest[2:4] / digest
        return {"path": str(path), "content": content.hex(), "like": str(like)}

    def apply(self, plan: dict[str, Any]) -> None:
        """Write them, as the site's own files are."""
        path, like = Path(plan["path"]), Path(plan["like"])
        for folder in (path.parent.parent, path.parent):
            if not folder.exists():
                folder.mkdir()
                self._as(like.parent, folder)
        path.write_bytes(bytes.fromhex(plan["content"]))
        self._as(like, path)

    def proof(self, plan: dict[str, Any]) -> str:
        """Return that they are there, or empty."""
        path = Path(plan["path"])
        there = path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        return f"{path} has bytes that no row names" if there else ""

    def undo(self, plan: dict[str, Any]) -> None:
        """Remove them, unless the site has done so."""
        Path(plan["path"]).unlink(missing_ok=True)

    @staticmethod
    def _as(like: Path, path: Path) -> None:
        shutil.copymode(like, path)
        owner = like.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
