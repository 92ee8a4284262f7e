"""What the storing service does when the other site says that images were deleted there."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import ValidationError

from hapacs_node.catalog.tombstones import Indexed
from hapacs_node.errors import NodeError, OrthancUnavailableError
from hapacs_node.https import Listener
from hapacs_node.loopback import Answer
from hapacs_node.replication.names import TOMBSTONES_PATH, USER
from hapacs_node.replication.tombstones import MOST, Remover
from hapacs_node.stow.server import Stow

DIGEST, OTHER = "ab" * 32, "cd" * 32
HEADERS = {"X-Hapacs-User": USER, "X-Forwarded-For": "10.0.0.1"}


@dataclass
class Index:
    """Stands for the catalog and for Orthanc: what the index has by SOP Instance UID."""

    found: dict[str, list[Indexed]]
    status: int = 200
    deleted: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def run(self, work: Callable[[Any], Any]) -> Any:
        return work(self)

    def execute(self, _: str, names: Mapping[str, str]) -> list[tuple[str, str]]:
        self.asked.append(names["sop"])
        return [(one.resource, one.digest) for one in self.found.get(names["sop"], [])]

    def ask(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        assert method == "DELETE"
        if not self.status:
            raise OrthancUnavailableError("no answer")
        self.deleted.append((path, headers))
        return Answer(self.status, "application/json", b"{}")


def remover(index: Index) -> Remover:
    return Remover(index, index, lambda _: HEADERS)  # type: ignore[arg-type]


def message(*sops: str, digest: str = DIGEST) -> bytes:
    images = [{"study": "1.2", "series": "1.3", "sop": sop, "digest": digest} for sop in sops]
    return json.dumps({"images": images}).encode()


def outcomes(index: Index, *sops: str) -> list[str]:
    answer = json.loads(json.dumps(remover(index).answer(message(*sops))))
    return [str(one) for one in answer["outcomes"]]


def test_what_has_the_same_bytes_is_removed_and_said_in_order() -> None:
    index = Index({"1.1": [Indexed("a", DIGEST)], "1.2": [Indexed("b", OTHER)]})
    assert outcomes(index, "1.1", "1.2", "1.3") == ["removed", "other", "absent"]
    assert index.deleted == [("/instances/a", HEADERS)]


def test_of_two_patients_the_image_with_these_bytes_goes_and_the_other_one_stays() -> None:
    index = Index({"1.1": [Indexed("a", OTHER), Indexed("b", DIGEST)]})
    assert outcomes(index, "1.1") == ["removed"]
    assert [path for path, _ in index.deleted] == ["/instances/b"]


def test_what_is_gone_meanwhile_is_removed() -> None:
    index = Index({"1.1": [Indexed("a", DIGEST)]}, status=404)
    assert outcomes(index, "1.1") == ["removed"]


@pytest.mark.parametrize("status", [0, 500])
def test_without_orthanc_nothing_is_said_to_be_removed(status: int) -> None:
    index = Index({"1.1": [Indexed("a", DIGEST)]}, status=status)
    with pytest.raises(NodeError):
        remover(index).answer(message("1.1"))


@pytest.mark.parametrize(
    "content",
    [b"no JSON", b"{}", message(), message("1.a"), message("1.1", digest="x"), message(*["1.1"] * (MOST + 1))],
)
def test_a_message_without_meaning_removes_nothing(content: bytes) -> None:
    index = Index({"1.1": [Indexed("a", DIGEST)]})
    with pytest.raises(ValidationError):
        remover(index).answer(content)
    assert not index.deleted


type Tell = Callable[[bytes, str], tuple[int, bytes]]


@pytest.fixture
def index() -> Index:
    return Index({"1.1": [Indexed("a", DIGEST)]})


@pytest.fixture
def tell(index: Index, listener: Listener, tls: ssl.SSLContext) -> Iterator[Tell]:
    arrived: list[str] = []
    stow = Stow(lambda _: 0, lambda path, _: arrived.append(path), deleted=remover(index).answer)
    port = stow.start(listener)

    def ask(body: bytes, user: str) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=tls, timeout=20)
        connection.request("POST", TOMBSTONES_PATH, body, {"X-Hapacs-User": user})
        answer = connection.getresponse()
        return answer.status, answer.read()

    yield ask
    stow.running.stop()


def test_the_service_that_stores_answers_the_other_site(tell: Tell, index: Index) -> None:
    status, content = tell(message("1.1"), USER)
    assert (status, json.loads(content)) == (200, {"outcomes": ["removed"]})
    assert index.deleted


@pytest.mark.parametrize("user", ["anna", "", "hapacs-probe"])
def test_nobody_else_can_say_what_was_deleted(tell: Tell, index: Index, user: str) -> None:
    assert tell(message("1.1"), user)[0] == 403
    assert not index.deleted


def test_a_bad_message_and_an_orthanc_that_is_off_are_told_apart(tell: Tell, index: Index) -> None:
    assert tell(b"{}", USER)[0] == 400
    index.status = 0
    assert tell(message("1.1"), USER)[0] == 503
    assert tell(b"x" * (1 << 17), USER)[0] == 400
