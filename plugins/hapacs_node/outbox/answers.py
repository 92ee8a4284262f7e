"""What the status of a C-STORE means for a task (DICOM PS3.4 B.2.3, PS3.7 C)."""

from dataclasses import dataclass
from typing import Literal

from hapacs_node.outbox.backoff import IMAGE

End = Literal["waiting", "confirmed", "dead"]

_SUCCESS = 0x0000
_CLASS = 0xF000
_WARNING = 0xB000
_CANNOT_UNDERSTAND = 0xC000
_OTHER_DATA_SET = 0xA900
_LOW = 0xFF00
# Attribute list error and attribute value out of range are warnings too.
_WARNINGS = {0x0107, 0x0116}
# SOP class not supported, duplicate SOP instance, invalid instance, no such class, not authorized.
_REFUSED = {0x0111, 0x0117, 0x0118, 0x0122, 0x0124}
_ATTEMPTS_WITH_WARNING = 3


@dataclass(frozen=True)
class Ended:
    """The end of one attempt.

    Attributes
    ----------
    id : int
        The task.
    state : str
        ``confirmed``, ``dead`` (the destination refuses this image), or ``waiting`` (it is tried again).
    reason : str
        For an operator: the status, or why there is none.
    pause_s : float
        Time until the next attempt.
    tried : bool
        Whether the attempt counts: not when the destination was not asked about this image.
    """

    id: int
    state: End
    reason: str = ""
    pause_s: float = 0
    tried: bool = True


def judge(task: int, attempts: int, status: int, comment: str = "") -> Ended:
    """Return what follows from the status of a C-STORE.

    A warning says that the image is stored, possibly changed. It is sent again twice, and then counts as confirmed,
    with the warning as its reason.

    Parameters
    ----------
    task : int
        The task's number.
    attempts : int
        How often it was sent, this time included.
    status : int
        The status of the answer.
    comment : str
        The destination's own words.
    """
    reason = f"status 0x{status:04X}" + (f": {comment}" if comment else "")
    if status == _SUCCESS:
        return Ended(task, "confirmed")
    if status & _CLASS == _WARNING or status in _WARNINGS:
        if attempts < _ATTEMPTS_WITH_WARNING:
            return Ended(task, "waiting", reason, IMAGE.pause_s(attempts))
        return Ended(task, "confirmed", reason)
    if status & _CLASS == _CANNOT_UNDERSTAND or status & _LOW == _OTHER_DATA_SET or status in _REFUSED:
        return Ended(task, "dead", reason)
    return Ended(task, "waiting", reason, IMAGE.pause_s(attempts))


def not_accepted(task: int, sop_class: str, transfer_syntax: str) -> Ended:
    """Return the end of a task whose presentation context the destination refused."""
    return Ended(task, "dead", f"SOP class {sop_class} with transfer syntax {transfer_syntax} is not accepted")


def unanswered(task: int, attempts: int, why: str) -> Ended:
    """Return the end of an attempt whose answer was lost: the image may be stored, and is sent again."""
    return Ended(task, "waiting", why, IMAGE.pause_s(attempts))


def untried(task: int) -> Ended:
    """Return a task unchanged: the association ended before its turn."""
    return Ended(task, "waiting", tried=False)
