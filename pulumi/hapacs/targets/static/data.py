"""What happens to the data of machines that exist, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hapacs.targets.static.judge import Answer, Wanted


def consequences(asked: Mapping[Wanted, Answer], before: Mapping[str, Any] | None) -> list[str]:
    """Return what `hapacs up` does to disks and to machines that the settings no longer name.

    Parameters
    ----------
    asked
        What the machines answered; all of them will do.
    before
        The contract of the last `hapacs up`, if there was one.
    """
    last = {name: node for site in (before or {}).get("sites", {}).values() for name, node in site["nodes"].items()}
    found = [
        f"{wanted.name}: {sentence}."
        for wanted, answer in asked.items()
        for sentence in _disks(wanted, answer, last.get(wanted.name))
    ]
    removed = [name for name in last if name not in {wanted.name for wanted in asked}]
    return found + [
        f"{name}: the machine is not touched. Its services go on and its disks keep their data until you stop it."
        for name in removed
    ]


def _disks(wanted: Wanted, answer: Answer, last: Mapping[str, Any] | None) -> Iterator[str]:
    disks = answer.machine.disks if answer.machine else {}
    before = tuple(last["das_devices"]) if last else ()
    if before == wanted.devices and any(disk.is_das for disk in disks.values()):
        return
    if any(disk.is_das for disk in disks.values()):
        if before:
            yield "the disks that the settings name belong to the online store already; online copies stay"
        return
    if before and before != wanted.devices:
        yield (
            f"a new, empty online store is made on {', '.join(wanted.devices)}. Online copies on {', '.join(before)} "
            "are not erased and no longer used; an image is read from the archive when it is asked for"
        )
    for device, disk in disks.items():
        if disk.held:
            yield f"{device} is emptied ({disk.held}), because wipe_serials permits it: what it holds is lost"
