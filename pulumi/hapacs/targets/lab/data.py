"""What happens to the data of a lab's nodes, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hapacs.changes import Change, size
from hapacs.settings import Settings

_GROWN = (
    "the disk grows and its content stays. The online store uses the new room after "
    "`btrfs filesystem resize NUMBER:max /srv/das` on the node"
)
_BLANK = (
    "a blank disk for a node that has an online store. `hapacs up` then stops at the role das, which joins no blank "
    "disk to a store: docs/operations/das.md says how to"
)
_DETACHED = "the disk is detached from its node; its file stays until `hapacs down`"
_REMOVED = (
    "the container is removed. Its data directory and disk files stay until `hapacs down`: a node of the same name "
    "gets them again"
)
_MADE_AGAIN = "the container is made again from the image; its data directory and its disks stay"


def consequences(machines: Sequence[Change], before: Mapping[str, Any] | None) -> list[str]:
    """Return a sentence for each kind of change that concerns data, with the names of what changes."""
    nodes = [name for site in (before or {}).get("sites", {}).values() for name in site["nodes"]]
    found: dict[str, list[str]] = {}
    for change in machines:
        for sentence in _sentence(change, nodes):
            found.setdefault(sentence, []).append(change.name)
    return [f"{', '.join(sorted(names))}: {sentence}." for sentence, names in found.items()]


def _sentence(change: Change, nodes: Sequence[str]) -> Iterator[str]:
    if change.kind == "LabDisk":
        if change.operation == "create" and change.name.rpartition("-disk")[0] in nodes:
            yield _BLANK
        elif change.operation == "delete":
            yield _DETACHED
        elif "size_bytes" in change.properties:
            yield _GROWN
    elif change.kind == "LabNode":
        if change.operation == "delete":
            yield _REMOVED
        # One that was only switched off is started as it is.
        elif change.operation != "create" and set(change.properties) - {"state", "image"}:
            yield _MADE_AGAIN


def shrunk(settings: Settings, sizes: Mapping[str, int]) -> list[str]:
    """Return the disks that the settings would make smaller.

    Parameters
    ----------
    sizes
        Of the files as they are, by their names: node and number of the disk, such as ``pacs1-0``.
    """
    return [
        f"sites.{name}.disks.das.size_bytes: is {size(wanted)}, but disk {index} of {node} has {size(present)}"
        for name, site in settings.sites.items()
        for node in site.members("pacs")
        for index in range(site.disks.das.count)
        if (present := sizes.get(f"{node}-{index}", 0)) > (wanted := int(site.disks.das.size_bytes))
    ]
