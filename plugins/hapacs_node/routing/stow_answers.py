"""What the answer to a STOW-RS request means for each image of it (DICOM PS3.18 10.5.3, PS3.4 B.2.3)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from hapacs_node.catalog.tasks import Task
from hapacs_node.outbox import answers
from hapacs_node.outbox.answers import Ended
from hapacs_node.outbox.backoff import IMAGE

JSON = "application/dicom+json"

_STORED, _FAILED = "00081199", "00081198"
_INSTANCE, _WARNING, _FAILURE = "00081155", "00081196", "00081197"
_SUCCESS, _PROCESSING_FAILURE = 0x0000, 0x0110
# With these the server refuses what the request holds, not the request.
_OF_THE_IMAGE = {
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
}
ABOUT_IMAGES = {HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.BAD_REQUEST, *_OF_THE_IMAGE}
"""Answers that are about the images of the request. With any other one the destination fails."""


@dataclass(frozen=True)
class Answer:
    """An answer about the images of a request.

    Attributes
    ----------
    code : int
        Status of HTTP.
    statuses : mapping
        Statuses by SOP Instance UID, as a C-STORE has them.
    problem : str
        Why there are none; empty when the answer names images.
    """

    code: int
    statuses: Mapping[str, int]
    problem: str = ""


def read(code: int, kind: str, body: bytes) -> Answer:
    """Read an answer.

    Parameters
    ----------
    code : int
        Status of HTTP.
    kind : str
        Its Content-Type.
    body : bytes
        Its body.
    """
    if kind.partition(";")[0].strip().lower() not in {JSON, "application/json"}:
        return Answer(code, {}, f"the answer is {kind or 'of no type'}, not {JSON}")
    try:
        dataset = json.loads(body)
        statuses = _statuses(dataset[0] if isinstance(dataset, list) and dataset else dataset)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return Answer(code, {}, "the answer is no store instances response")
    return Answer(code, statuses)


def _statuses(dataset: Any) -> dict[str, int]:
    found = {_uid(item): _number(item, _WARNING, _SUCCESS) for item in _items(dataset, _STORED)}
    # An image in both lists is not stored for certain.
    return found | {_uid(item): _number(item, _FAILURE, _PROCESSING_FAILURE) for item in _items(dataset, _FAILED)}


def _items(dataset: Any, tag: str) -> Sequence[Any]:
    items: Sequence[Any] = dataset.get(tag, {}).get("Value", [])
    return items


def _uid(item: Any) -> str:
    return str(item[_INSTANCE]["Value"][0])


def _number(item: Any, tag: str, default: int) -> int:
    values = item.get(tag, {}).get("Value")
    return int(values[0]) if values else default


def judge(task: Task, sop: str, answer: Answer, *, alone: bool) -> Ended:
    """Return what follows for one image. It is confirmed only when the answer names it as stored.

    Parameters
    ----------
    task : Task
        The task.
    sop : str
        SOP Instance UID of its image.
    answer : Answer
        The answer to the request that had it.
    alone : bool
        Whether the request had no other image.
    """
    status = answer.statuses.get(sop)
    if status is not None:
        return answers.judge(task.id, task.attempts, status)
    reason = f"HTTP status {answer.code}: {answer.problem or 'the answer does not name the image'}"
    if alone and answer.code in _OF_THE_IMAGE:
        return Ended(task.id, "dead", reason)
    # It is sent alone the next time, so that no other image of the request has a part in it.
    return Ended(task.id, "waiting", reason, IMAGE.pause_s(task.attempts))
