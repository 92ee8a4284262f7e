"""What an answer to STOW-RS means for each image (DICOM PS3.18 10.5.3)."""

import json
from typing import Any
from uuid import UUID

import pytest

from hapacs_node.catalog.tasks import Task
from hapacs_node.routing import stow_answers


def task(attempts: int = 1) -> Task:
    return Task(7, UUID(int=1), "1", "1.1", "1.1.1", "1.2", "1.2.3", 100, "all", None, attempts)


def item(sop: str, **reasons: int) -> dict[str, Any]:
    tags = {"warning": "00081196", "failure": "00081197"}
    uid = {"00081155": {"vr": "UI", "Value": [sop]}}
    return uid | {tags[name]: {"vr": "US", "Value": [value]} for name, value in reasons.items()}


def body(stored: list[dict[str, Any]], failed: list[dict[str, Any]] | None = None) -> bytes:
    dataset = {"00081199": {"vr": "SQ", "Value": stored}}
    if failed is not None:
        dataset["00081198"] = {"vr": "SQ", "Value": failed}
    return json.dumps(dataset).encode()


MIXED = stow_answers.read(
    202,
    "application/dicom+json; charset=utf-8",
    body([item("1"), item("2", warning=0xB000)], [item("3", failure=0xA700), item("4", failure=0xC122), item("5")]),
)


@pytest.mark.parametrize(
    ("sop", "state", "reason"),
    [
        ("1", "confirmed", ""),
        ("2", "waiting", "status 0xB000"),
        ("3", "waiting", "status 0xA700"),
        ("4", "dead", "status 0xC122"),
        ("5", "waiting", "status 0x0110"),
        ("6", "waiting", "HTTP status 202: the answer does not name the image"),
    ],
)
def test_each_image_of_a_partial_success_ends_by_its_own_status(sop: str, state: str, reason: str) -> None:
    ended = stow_answers.judge(task(), sop, MIXED, alone=False)
    assert (ended.state, ended.reason, ended.tried) == (state, reason, True)


def test_a_warning_that_stays_counts_as_confirmed_at_the_third_attempt() -> None:
    ended = stow_answers.judge(task(3), "2", MIXED, alone=True)
    assert (ended.state, ended.reason) == ("confirmed", "status 0xB000")


def test_an_image_in_both_lists_is_not_confirmed() -> None:
    answer = stow_answers.read(202, "application/dicom+json", body([item("1")], [item("1", failure=0xA700)]))
    assert stow_answers.judge(task(), "1", answer, alone=True).state == "waiting"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("application/dicom+json", b""),
        ("application/dicom+json", b"[]"),
        ("application/dicom+json", b'"stored"'),
        ("application/dicom+json", b'{"00081199": {"Value": [{}]}}'),
        ("application/dicom+xml", body([item("1")])),
        ("text/html", b"<p>OK</p>"),
        ("", body([item("1")])),
    ],
)
def test_success_without_a_store_instances_response_confirms_nothing(kind: str, text: bytes) -> None:
    ended = stow_answers.judge(task(), "1", stow_answers.read(200, kind, text), alone=True)
    assert ended.state == "waiting"
    assert ended.reason.startswith("HTTP status 200: ")


@pytest.mark.parametrize("code", [409, 413, 415, 422])
def test_a_refusal_of_one_image_is_final_and_one_of_several_is_tried_alone(code: int) -> None:
    answer = stow_answers.read(code, "text/plain", b"no")
    assert stow_answers.judge(task(), "1", answer, alone=True).state == "dead"
    assert stow_answers.judge(task(), "1", answer, alone=False).state == "waiting"


def test_a_bad_request_never_makes_a_dead_task_because_a_wrong_address_gives_it_too() -> None:
    answer = stow_answers.read(400, "text/plain", b"The plain HTTP request was sent to HTTPS port")
    assert stow_answers.judge(task(9), "1", answer, alone=True).state == "waiting"
