"""HTTPS server for the balancer: answers the other site, for one what the archive has of its images."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

from pydantic import BaseModel, ConfigDict, Field

from hapacs_node.commitment.copies import Kept
from hapacs_node.https import Handler, Listener, Running, Server

_MOST = 1000
_MOST_BYTES = 1 << 18

type Read = Callable[[Sequence[str]], Mapping[str, Sequence[Kept]]]
"""Reads the copies of images by SOP Instance UID."""
type Answer = Callable[[bytes], Mapping[str, object]]


class Question(BaseModel):
    """The images that are asked for.

    Attributes
    ----------
    instances
        SOP Instance UIDs.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    instances: tuple[str, ...] = Field(min_length=1, max_length=_MOST)


def answer(read: Read, content: bytes) -> dict[str, object]:
    """Answer which copies of some images the archive has.

    Raises
    ------
    ValidationError
        When the question has no meaning.
    NodeError
        When the copies can't be read now.
    """
    found = read(Question.model_validate_json(content).instances)
    return {"replicas": {sop: [_plain(one) for one in kept] for sop, kept in found.items()}}


class Replicas:
    """Answers the other site.

    Parameters
    ----------
    answers : mapping
        For each path what returns the answer, fit for JSON; it raises ValidationError for a question without meaning,
        and NodeError when there is no answer now.
    """

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = answers
        self.running = Running("copies")

    def start(self, listener: Listener) -> int:
        """Start to listen, and return the port.

        Raises
        ------
        OSError
            When the certificates or the address can't be used.
        """
        return self.running.start(_Server(listener, self.answers))


class _Server(Server):
    def __init__(self, listener: Listener, answers: Mapping[str, Answer]) -> None:
        self.answers = answers
        super().__init__(listener, _Request)


class _Request(Handler):
    server: _Server
    allowed = "POST"

    def do_POST(self) -> None:  # noqa: N802 - the library's name
        answer = self.server.answers.get(self.path)
        if answer is None:
            self.close_connection = True
            self.refuse(HTTPStatus.NOT_FOUND, f"the other site is answered at {', '.join(self.server.answers)}")
            return
        self.question(answer, _MOST_BYTES)


def _plain(kept: Kept) -> dict[str, object]:
    until = None if kept.locked_until is None else kept.locked_until.isoformat()
    return {"digest": kept.digest, "size": kept.size, "locked_until": until, "problem": kept.problem}
