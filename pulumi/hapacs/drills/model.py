"""What a drill is, and what it found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hapacs.errors import HapacsError

What = Literal["entry", "storing", "database", "archive", "data", "planned"]
DEADLINES_S: Mapping[What, int] = {
    "entry": 10,
    "storing": 10,
    "database": 30,
    "archive": 30,
    # Full disks, changed bytes and clocks.
    "data": 0,
    "planned": 5,
}
"""Longest time without a Success, in seconds, by what the fault hits."""
MINIMUM_RATE = 1.0
"""Acknowledged images a second before the fault below which a drill is void."""


@dataclass(frozen=True)
class OnNode:
    """A fault that the playbook `drill_<name>.yml` injects on a node.

    Attributes
    ----------
    of_image
        Whether it changes a byte of an image, which is stored before.
    own_clock
        Whether it needs nodes that have a clock of their own.
    """

    of_image: bool = False
    own_clock: bool = False


@dataclass(frozen=True)
class PowerOff:
    """The power of nodes is cut; `subject` chooses them, as in `hapacs.drills.subjects`."""

    subject: str
    count: int = 1


@dataclass(frozen=True)
class OtherSite:
    """The deployment's other site is away: all its nodes are off, or the line to it is cut.

    Attributes
    ----------
    how
        ``off``: the power of its nodes is cut. ``cut``: the playbook `drill_<name>.yml` lets every node of the storing
        site drop all packets from and to it.
    """

    how: Literal["off", "cut"]


@dataclass(frozen=True)
class Switchover:
    """A planned switchover, by the playbook of `hapacs switchover --what`."""

    what: Literal["database", "storing", "address"]


@dataclass(frozen=True)
class Restart:
    """A service is restarted on one node after the other, by the playbook of `hapacs restart --service`."""

    service: str


@dataclass(frozen=True)
class InARow:
    """The power of a node is cut, and while it is off a playbook injects a fault on another node.

    Attributes
    ----------
    after_s
        Time from the first fault to the second.
    """

    first: PowerOff
    playbook: str
    after_s: float = 10


Fault = OnNode | PowerOff | OtherSite | Switchover | Restart | InARow


@dataclass(frozen=True)
class Drill:
    """One drill.

    Attributes
    ----------
    sentence
        What it does.
    hits
        Decides the deadline.
    hold_s
        How long the fault stays, unless it is undone before.
    production
        Whether it may run on a site that patients depend on.
    apart
        Whether the node that is hit must lead neither database nor archive, for whose loss another deadline holds.
        The office that the drill hits moves to another node before.
    refuses
        Whether the site must refuse every store while the fault is there: too few nodes are left for two copies. The
        deadline counts from the moment when the first node is back.
    """

    name: str
    sentence: str
    hits: What
    fault: Fault = OnNode()
    hold_s: float = 40
    production: bool = False
    apart: bool = False
    refuses: bool = False

    @property
    def deadline_s(self) -> int:
        """Longest time without a Success, in seconds."""
        return DEADLINES_S[self.hits]

    @property
    def elsewhere(self) -> bool:
        """Whether the other site is away, which has to have all images again."""
        return isinstance(self.fault, OtherSite)

    @property
    def cuts_power(self) -> bool:
        """Whether it needs a target that switches the power of nodes."""
        return isinstance(self.fault, PowerOff | InARow) or self.fault == OtherSite("off")

    @property
    def playbook(self) -> str:
        """The playbook that injects a fault on nodes."""
        return f"drill_{self.name.replace('-', '_')}"


@dataclass(frozen=True)
class Prepared:
    """A fault that can be injected at once.

    Attributes
    ----------
    places
        Where it has to be undone: nodes whose power is cut, and an empty text for every other fault.
    nodes, fault, proof_s
        Only of a fault on nodes: which ones, the fault as `hapacs-drill` takes it, and the time for its proof.
    """

    places: tuple[str, ...] = ("",)
    nodes: tuple[str, ...] = ()
    fault: Mapping[str, Any] = field(default_factory=dict)
    proof_s: float = 0


@dataclass(frozen=True)
class Injected:
    """A fault that took effect.

    Attributes
    ----------
    node
        The node that it hit, or several.
    at
        When it began, in seconds since the epoch: outages count from here.
    proof
        What shows that it took effect.
    whole_at
        When all of it was there: what must not happen under the fault counts from here. None: when it began.
    """

    node: str
    at: float
    proof: str
    whole_at: float | None = None


class UnprovedError(HapacsError):
    """The fault was not injected or took no effect: the drill is void."""


@dataclass(frozen=True)
class Times:
    """How long requests took, in seconds.

    Attributes
    ----------
    longest_without_s
        Longest time without a request that succeeded.
    """

    count: int = 0
    failed: int = 0
    p50_s: float = 0
    p99_s: float = 0
    longest_s: float = 0
    longest_without_s: float = 0


@dataclass(frozen=True)
class Kept:
    """What the check of the ledger found.

    Attributes
    ----------
    unprotected
        Images with too few copies in the archive, or without a lock.
    problems
        One line for each image that is not as it was acknowledged.
    """

    acknowledged: int = 0
    lost: int = 0
    corrupted: int = 0
    duplicated: int = 0
    unknown: int = 0
    unprotected: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lacking:
    """What the other site lacked at the end of a fault.

    Attributes
    ----------
    images, bytes
        Acknowledged images that were not confirmed there.
    rpo_s
        Age of the oldest of them, in seconds.
    """

    images: int = 0
    bytes: int = 0
    rpo_s: float = 0


@dataclass
class Result:
    """What a drill found.

    Attributes
    ----------
    at
        When the load began, in seconds since the epoch.
    reasons
        Why it is void or not ok, in sentences.
    outage_s
        Longest time without a Success; 0 when it is not longer than without a fault.
    marks
        Moments of the timeline, in seconds since the epoch: fault, detection, recovery, heal; and back, when the first
        node is there again; and equal, when both sites had the same images.
    lacking
        What the other site lacked; None for a drill that does not hit it.
    refusal
        Why stores were refused, as `hapacs status` said it; only where the site must refuse them.
    stored
        Acknowledged images in each second since `at`.
    failures
        Times and reasons of failed stores.
    """

    drill: Drill
    at: float
    seed: int = 0
    void: bool = False
    reasons: list[str] = field(default_factory=list)
    node: str = ""
    proof: str = ""
    refusal: str = ""
    outage_s: float = 0
    rate_per_s: float = 0
    marks: dict[str, float] = field(default_factory=dict)
    stored: list[int] = field(default_factory=list)
    failures: list[tuple[float, str]] = field(default_factory=list)
    repeated: int = 0
    kept: Kept = Kept()
    lacking: Lacking | None = None
    queries: Times = Times()
    reads: Times = Times()
    versions: dict[str, str] = field(default_factory=dict)
    report: str = ""

    @property
    def ok(self) -> bool:
        """Whether it proved what it is for: not void, nothing lost, in time, and the site whole without a hand."""
        return not self.void and not self.reasons

    def summary(self) -> dict[str, Any]:
        """Return what `hapacs drill run --json` prints of it."""
        kept = self.kept
        return {
            "name": self.drill.name, "ok": self.ok, "void": self.void, "acknowledged": kept.acknowledged,
            "lost": kept.lost, "corrupted": kept.corrupted, "duplicated": kept.duplicated, "unknown": kept.unknown,
            "outage_s": round(self.outage_s, 1), "deadline_s": self.drill.deadline_s, "report": self.report,
        }  # fmt: skip
