"""Documents and tables of deleted studies, and of their restoration."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from hapacs_node.catalog.removals import DeletedStudy
from hapacs_node.restore import Restored

_GOOD = {"restored", "present"}


def deleted(studies: Sequence[DeletedStudy], unread: int) -> dict[str, Any]:
    """Describe deleted studies for JSON; `unread` is the number of removed images whose study is not known."""
    documents = [
        {**asdict(study), "first_at": study.first_at.isoformat(), "last_at": study.last_at.isoformat()}
        for study in studies
    ]
    return {"ok": not unread, "studies": documents, "unread": unread}


def restored(study: str, images: Sequence[Restored]) -> dict[str, Any]:
    """Describe a restoration for JSON; `ok` means that there are images, and that the index has all of them."""
    counts = Counter(image.state for image in images)
    return {
        "ok": bool(images) and set(counts) <= _GOOD,
        "study": study,
        "counts": dict(counts),
        "images": [asdict(image) for image in images],
    }


def deleted_table(document: dict[str, Any]) -> Table:
    """Make a table of `deleted`."""
    table = Table("study", "deleted", "images", "not in the index", "by", "on", box=None)
    for study in document["studies"]:
        by, on = ", ".join(study["callers"]), ", ".join(study["nodes"])
        table.add_row(study["study"], study["last_at"], str(study["images"]), str(study["missing"]), escape(by), on)
    return table


def restored_table(document: dict[str, Any]) -> Table:
    """Make a table of the images that were not restored."""
    table = Table("image", "state", "reason", box=None)
    for image in document["images"]:
        if image["state"] not in _GOOD:
            table.add_row(image["sop"], image["state"], escape(image["detail"]))
    return table
