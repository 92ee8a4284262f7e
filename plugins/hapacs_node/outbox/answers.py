"""What an answer of a destination means for a task: the status of a C-STORE (DICOM PS3.4 B.2.3, PS3.7 C), or a list."""

from dataclasses import dataclass, replace
from typing import Literal

from hapacs_node.outbox.backoff import IMAGE

End = Literal["waiting", "confirmed", "dead", "dropped"]

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
# A destination that took an image is asked whether it lists it: soon, then after half of the time again that passed.
_FIRST_ASKED_S, _LAST_ASKED_S = 5.0, 600.0
# It may list images late. Only after this time the image is sent again, and each time it waits twice as long.
_LISTED_WITHIN_S, _LISTED_AT_LAST_S = 3600.0, 86400.0
# A destination reports its commitment when it has made sure. Without a report it is asked again after this time, then
# after twice the time, and so on.
_REPORTED_WITHIN_S, _REPORTED_AT_LAST_S = 900.0, 6 * 3600.0
# Failure reasons of storage commitment that another attempt does not change (DICOM PS3.3 C.14.1.1): the SOP class is
# not supported, or is another one than that of the image.
_NEVER_COMMITTED = {0x0119, 0x0122}
# A destination that does not say whether it has an image is asked again after this time.
_UNKNOWN_S = 60.0


@dataclass(frozen=True)
class Ended:
    """The end of one attempt.

    Attributes
    ----------
    id : int
        The task.
    state : str
        ``confirmed``, ``dead`` (the destination refuses this image), ``waiting`` (it is tried again), or ``dropped``
        (it is not wanted any more).
    reason : str
        For an operator: the status, or why there is none.
    pause_s : float
        Time until the next attempt.
    tried : bool
        Whether the attempt counts: not when the destination was not asked about this image.
    taken : bool or None
        True when the destination took the image, and now has to list it; False when it is to be sent again, because it
        does not list it. None changes nothing.
    asked : bool
        Whether the destination was asked for a list only. The attempt does not count then.
    """

    id: int
    state: End
    reason: str = ""
    pause_s: float = 0
    tried: bool = True
    taken: bool | None = None
    asked: bool = False


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


def not_accepted(task: int, sop_class: str, transfer_syntax: str, why: str = "") -> Ended:
    """Return the end of a task whose presentation context the destination refused.

    Parameters
    ----------
    task : int
        The task's number.
    sop_class, transfer_syntax : str
        What it is stored as.
    why : str
        Why it can't have a transfer syntax that the destination accepts; empty when that accepts none for the class.
    """
    reason = f"SOP class {sop_class} with transfer syntax {transfer_syntax} is not accepted"
    return Ended(task, "dead", f"{reason}, and {why}" if why else reason)


def unanswered(task: int, attempts: int, why: str) -> Ended:
    """Return the end of an attempt whose answer was lost: the image may be stored, and is sent again."""
    return Ended(task, "waiting", why, IMAGE.pause_s(attempts))


def untried(task: int) -> Ended:
    """Return a task unchanged: the association ended before its turn."""
    return Ended(task, "waiting", tried=False)


def taken(ended: Ended) -> Ended:
    """Return what follows instead of a confirmation when the destination has to list the image."""
    reason = f"taken{f' with {ended.reason}' if ended.reason else ''}; not listed yet"
    return replace(ended, state="waiting", reason=reason, pause_s=_FIRST_ASKED_S, taken=True)


def listed(task: int) -> Ended:
    """Return the end of a task that a destination took, and lists."""
    return Ended(task, "confirmed", asked=True)


def unlisted(task: int, sent: int, taken_s: float, *, why: str = "") -> Ended:
    """Return what follows when a destination does not list an image that it took.

    Parameters
    ----------
    task : int
        The task's number.
    sent : int
        How often it was sent.
    taken_s : float
        Time since the destination took it.
    why : str
        Why the destination did not say what it lists. The image is not sent again then.
    """
    if not why and taken_s > min(_LISTED_WITHIN_S * 2.0 ** min(sent - 1, 10), _LISTED_AT_LAST_S):
        return Ended(task, "waiting", f"taken, but not listed after {taken_s / 60:.0f} min", taken=False, asked=True)
    pause_s = min(max(taken_s / 2, _FIRST_ASKED_S), _LAST_ASKED_S)
    return Ended(task, "waiting", f"taken; {why or 'not listed yet'}", pause_s, asked=True)


def requested(task: int, taken_s: float) -> Ended:
    """Return what follows when a destination was asked to commit an image: it has time to report.

    Parameters
    ----------
    task : int
        The task's number.
    taken_s : float
        Time since the destination took it.
    """
    pause_s = min(max(taken_s, _REPORTED_WITHIN_S), _REPORTED_AT_LAST_S)
    return Ended(task, "waiting", "taken; its storage commitment is requested", pause_s, asked=True)


def not_requested(task: int, taken_s: float, why: str) -> Ended:
    """Return what follows when a destination did not take the request for storage commitment."""
    pause_s = min(max(taken_s / 2, _FIRST_ASKED_S), _LAST_ASKED_S)
    return Ended(task, "waiting", f"taken; {why}", pause_s, asked=True)


def reported(failure: int | None) -> tuple[End, str]:
    """Return state and reason that follow from a report of storage commitment.

    An image that the destination does not keep is sent again, unless no attempt can change that.

    Parameters
    ----------
    failure : int or None
        The failure reason (DICOM PS3.3 C.14.1.1); None for an image that is committed.
    """
    if failure is None:
        return "confirmed", "storage commitment"
    reason = f"storage commitment failed with reason 0x{failure:04X}"
    return ("dead" if failure in _NEVER_COMMITTED else "waiting"), reason


def present(task: int) -> Ended:
    """Return the end of a task whose image the destination has, so that it is not sent."""
    return Ended(task, "confirmed", "not sent: the destination has it already", asked=True)


def unknown(task: int, why: str) -> Ended:
    """Return a task that waits because the destination does not say whether it has the image."""
    return Ended(task, "waiting", f"not sent: {why}", _UNKNOWN_S, asked=True)
