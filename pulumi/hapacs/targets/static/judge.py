"""Judges by a machine's facts whether it can be a node: functions without side effects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from hapacs.changes import size
from hapacs.services import nodes
from hapacs.services.model import Group
from hapacs.settings.base import Model

DAS_LABEL = "hapacs-das"
"""Of the file system that the role `das` makes (`__das_label`)."""

MAXIMUM_OFFSET_S = 5.0
"""A fresh Debian sets its clock by the network; one that is further off does not, and certificates would be refused."""

# A kernel keeps some of the memory that a machine is sold with.
_MEMORY_TOLERANCE = 0.95
_WHOLE_DISKS = frozenset(("disk", "loop", "mpath", "raid0", "raid1", "raid5", "raid6", "raid10", "crypt", "lvm"))
_DEBIAN = 13


class Disk(Model):
    """A device as `machine_facts` found it; what is only known of a block device is empty for others."""

    there: bool
    block: bool = False
    path: str = ""
    kind: str = ""
    size_bytes: int = 0
    read_only: bool = False
    serial: str = ""
    content: str = ""
    label: str = ""
    uuid: str = ""
    parts: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()

    @property
    def is_das(self) -> bool:
        """Whether it belongs to an online store of ours."""
        return self.content == "btrfs" and self.label == DAS_LABEL

    @property
    def held(self) -> str:
        """What is on it, in a few words; empty for a blank disk."""
        what = [f"{self.content} {self.label}".strip()] if self.content else []
        what += [f"partitions {', '.join(self.parts)}"] if self.parts else []
        what += [f"mounted at {', '.join(self.mounts)}"] if self.mounts else []
        return "; ".join(what)


class Machine(Model):
    """A machine as `machine_facts` found it; `time` is seconds since 1970."""

    system: str
    version: str
    architecture: str
    memory_bytes: int
    machine_id: str
    addresses: tuple[str, ...]
    disks: Mapping[str, Disk]
    time: float


@dataclass(frozen=True)
class Wanted:
    """What the settings want of a machine.

    Attributes
    ----------
    name
        Of the node.
    path
        Of its settings, such as ``sites.main.nodes.pacs1``.
    reached_at
        The address at which it is managed.
    size_bytes
        Of each disk of its DAS, at least.
    """

    name: str
    path: str
    reached_at: str
    address: str
    groups: tuple[Group, ...]
    devices: tuple[str, ...] = ()
    size_bytes: int = 0
    wipe_serials: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} ({self.reached_at})"


@dataclass(frozen=True)
class Answer:
    """The answer of a machine.

    Attributes
    ----------
    machine
        What it said; None when it could not be asked.
    refusal
        Why it could not be asked, and what to change.
    asked_at, answered_at
        By the controller's clock, seconds since 1970.
    """

    machine: Machine | None = None
    refusal: str = ""
    asked_at: float = 0
    answered_at: float = 0


def problems(asked: Mapping[Wanted, Answer]) -> list[str]:
    """Return all problems of all machines, each with the machine's name and what to change."""
    found = []
    for wanted, answer in asked.items():
        machine = answer.machine
        if machine is None:
            found.append(f"{wanted}: {answer.refusal}")
        else:
            found += [f"{wanted}: {problem}" for problem in (*_system(wanted, machine), *_clock(answer, machine))]
            found += [f"{wanted}: {problem}" for problem in _disks(wanted, machine)]
    return found + list(_twice({wanted: answer.machine for wanted, answer in asked.items() if answer.machine}))


def _system(wanted: Wanted, machine: Machine) -> Iterator[str]:
    version = machine.version.partition(".")[0]
    if machine.system != "debian" or not version.isdigit() or int(version) < _DEBIAN:
        yield f"runs {machine.system or 'an unknown system'} {machine.version}; install Debian {_DEBIAN}"
    if machine.architecture != "x86_64":
        yield f"is a {machine.architecture}; the packages for nodes are for x86_64"
    if wanted.address not in machine.addresses:
        yield (
            f"does not have the address {wanted.address} (it has {', '.join(machine.addresses) or 'none'}); give it "
            f"that address, or correct {wanted.path}.address"
        )
    needed = nodes.memory_mb(wanted.groups, "dedicated") << 20
    if machine.memory_bytes < needed * _MEMORY_TOLERANCE:
        yield (
            f"has {size(machine.memory_bytes)} of memory; {', '.join(wanted.groups)} need {size(needed)}: add "
            "memory, or give it fewer groups (pools)"
        )


def _clock(answer: Answer, machine: Machine) -> Iterator[str]:
    """Compare the clocks; how long the answer took is what can't be known of the offset."""
    early, late = answer.asked_at - machine.time, machine.time - answer.answered_at
    offset = max(early, late)
    if offset > MAXIMUM_OFFSET_S:
        yield (
            f"its clock is {offset:.0f} s {'behind' if early > late else 'ahead of'} this machine's; set both by the "
            "network (`timedatectl set-ntp true`), then look again"
        )


def _disks(wanted: Wanted, machine: Machine) -> Iterator[str]:
    field_, disks = f"{wanted.path}.das_devices", machine.disks
    ours = {device: disk for device, disk in disks.items() if disk.is_das}
    for device in wanted.devices:
        disk = disks[device]
        if not disk.there:
            yield f"there is no {device}; look at `ls -l /dev/disk/by-id` there and correct {field_}"
        elif not disk.block:
            yield f"{device} is no disk; correct {field_}"
        else:
            yield from _disk(wanted, device, disk, ours)
    for (one, first), (other, second) in combinations(disks.items(), 2):
        if first.path and first.path == second.path:
            yield f"{one} and {other} are the same disk ({first.path}); correct {field_}"
    if len({disk.uuid for disk in ours.values()}) > 1:
        yield (
            f"{', '.join(ours)} belong to different online stores; put each store's disks together again, or empty "
            "those that came from elsewhere (`wipefs --all`)"
        )


def _disk(wanted: Wanted, device: str, disk: Disk, ours: Mapping[str, Disk]) -> Iterator[str]:
    name = f"{device} ({disk.serial})" if disk.serial else device
    if disk.kind not in _WHOLE_DISKS:
        yield f"{name} is a {disk.kind}; give a whole disk"
    if disk.read_only:
        yield f"{name} is read-only; let it be written"
    if disk.size_bytes < wanted.size_bytes:
        yield (
            f"{name} has {size(disk.size_bytes)}, the settings want {size(wanted.size_bytes)}; give a larger disk, "
            "or lower disks.das.size_bytes"
        )
    if disk.is_das:
        return
    if ours:
        # The role joins no foreign disk to the mirror, and nothing here destroys a store.
        yield (
            f"{name} is {'blank' if not disk.held else f'not of the store ({disk.held})'}, while {', '.join(ours)} "
            "holds online copies; a new disk takes a lost one's place by `btrfs replace` (docs/operations/das.md)"
        )
    elif disk.mounts:
        yield f"{name} is in use ({disk.held}); give another disk, or unmount it and look again"
    elif disk.held and disk.serial and disk.serial not in wanted.wipe_serials:
        yield (
            f"{name} holds data ({disk.held}); give another disk, or, when all that is on it may be destroyed, add "
            f"{disk.serial!r} to {wanted.path}.wipe_serials"
        )
    elif disk.held and not disk.serial:
        yield (
            f"{name} holds data ({disk.held}) and has no serial number; give another disk, or empty it yourself "
            f"(`wipefs --all {device}`)"
        )


def _twice(machines: Mapping[Wanted, Machine]) -> Iterator[str]:
    """Find machines that are the same one under two addresses, or clones that still have their origin's identity."""
    for (one, first), (other, second) in combinations(machines.items(), 2):
        if first.machine_id and first.machine_id == second.machine_id:
            yield (
                f"{one} and {other} have the same machine id: they are one machine with two addresses, or clones; give "
                "each node a machine of its own (of clones: empty /etc/machine-id and start it again)"
            )
