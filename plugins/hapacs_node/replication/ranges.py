"""What a site says of ranges of its images to another one that compares, and the questions for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hapacs_node.catalog import comparison
from hapacs_node.catalog.comparison import Bounds, Image, Range
from hapacs_node.catalog.database import Database
from hapacs_node.errors import NodeError
from hapacs_node.replication.locks import Locks
from hapacs_node.routing.peer import PeerError

STEP, RANGES = 1000, 50
"""Images of a range, and ranges of one question."""
MOST_BOUNDS, MOST_IMAGES, MOST_NAMED = 200, 2000, 500
"""Limits of one question and its answer, which has at most 1 MB."""
_MOST_CHARACTERS = 250

# A text with a zero byte is none for PostgreSQL. Files may have UIDs that are none, so nothing else is required.
Uid = Annotated[str, Field(max_length=_MOST_CHARACTERS, pattern=r"^[^\x00]*$")]


class Part(BaseModel):
    """A part of a question or of an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ForBounds(Part):
    """Asks where the next ranges begin."""

    ask: Literal["bounds"] = "bounds"
    start: Uid
    study: Uid | None = None


class ForRanges(Part):
    """Asks what is in some ranges."""

    ask: Literal["ranges"] = "ranges"
    bounds: Annotated[tuple[Uid, ...], Field(min_length=1, max_length=MOST_BOUNDS)]
    end: Uid | None = None
    study: Uid | None = None


class ForImages(Part):
    """Asks for the images of a range."""

    ask: Literal["images"] = "images"
    start: Uid
    end: Uid | None = None
    study: Uid | None = None


class ForNamed(Part):
    """Asks for the images with some SOP Instance UIDs."""

    ask: Literal["named"] = "named"
    sops: Annotated[tuple[Uid, ...], Field(min_length=1, max_length=MOST_NAMED)]
    study: Uid | None = None


class ForLocks(Part):
    """Asks what is wrong with the locks of images."""

    ask: Literal["locks"] = "locks"
    sops: Annotated[tuple[Uid, ...], Field(min_length=1, max_length=MOST_NAMED)]
    study: Uid | None = None


Question = Annotated[ForBounds | ForRanges | ForImages | ForNamed | ForLocks, Field(discriminator="ask")]
QUESTION: TypeAdapter[Question] = TypeAdapter(Question)


class Answer(Part):
    """The answer to any question: what was not asked for is empty."""

    bounds: tuple[str, ...] = ()
    end: str | None = None
    ranges: tuple[tuple[Annotated[int, Field(ge=0)], str], ...] = ()
    images: tuple[tuple[str, str, str, int], ...] = ()
    locks: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Here:
    """The site whose database this node uses.

    Parameters
    ----------
    database : Database
        Of index and catalog.
    held : Locks or None
        Reads locks; None where none are asked for.
    """

    database: Database
    held: Locks | None = None

    def bounds(self, start: str, study: str | None) -> Bounds:
        """Return where the next ranges begin."""
        return self.database.run(partial(comparison.bounds, start=start, study=study, step=STEP, ranges=RANGES))

    def ranges(self, bounds: Sequence[str], end: str | None, study: str | None) -> list[Range]:
        """Return what is in ranges that follow each other."""
        return self.database.run(partial(comparison.ranges, bounds=bounds, end=end, study=study))

    def images(self, start: str, end: str | None, study: str | None) -> list[Image]:
        """Return the images of a range; refuse one with too many."""
        limit = MOST_IMAGES + 1
        found = self.database.run(partial(comparison.images, start=start, end=end, study=study, limit=limit))
        if len(found) == limit:
            raise NodeError(f"more than {MOST_IMAGES} images follow {start}: ask for a shorter range")
        return found

    def named(self, sops: Sequence[str], study: str | None) -> list[Image]:
        """Return the images with some SOP Instance UIDs."""
        return self.database.run(partial(comparison.named, sops=sops, study=study))

    def locks(self, sops: Sequence[str], study: str | None) -> list[tuple[str, str]]:
        """Return SOP Instance UID and problem of those images whose lock is not as it has to be."""
        if self.held is None:
            raise NodeError("the retention of this site is not known here: run `hapacs up`")
        return self.held.problems(sops, study)

    def answer(self, question: Question) -> Answer:
        """Answer the question of another site.

        Raises
        ------
        NodeError
            When the database does not answer, or the range has too many images.
        """
        match question:
            case ForBounds():
                found = self.bounds(question.start, question.study)
                return Answer(bounds=found.bounds, end=found.end)
            case ForRanges():
                return Answer(ranges=tuple(self.ranges(question.bounds, question.end, question.study)))
            case ForImages():
                return Answer(images=tuple(self.images(question.start, question.end, question.study)))
            case ForNamed():
                return Answer(images=tuple(self.named(question.sops, question.study)))
            case ForLocks():
                return Answer(locks=tuple(self.locks(question.sops, question.study)))


@dataclass(frozen=True)
class There:
    """Another site.

    Parameters
    ----------
    post : callable
        Sends a question there, and returns the answer, both as JSON.
    """

    post: Callable[[bytes], bytes]

    def bounds(self, start: str, study: str | None) -> Bounds:
        """Return where the next ranges begin."""
        found = self._ask(ForBounds(start=start, study=study))
        return Bounds(found.bounds, found.end)

    def ranges(self, bounds: Sequence[str], end: str | None, study: str | None) -> list[Range]:
        """Return what is in ranges that follow each other."""
        found = self._ask(ForRanges(bounds=tuple(bounds), end=end, study=study)).ranges
        if len(found) != len(bounds):
            raise PeerError(f"the second site answers for {len(found)} of {len(bounds)} ranges")
        return [Range(*one) for one in found]

    def images(self, start: str, end: str | None, study: str | None) -> list[Image]:
        """Return the images of a range."""
        return [Image(*one) for one in self._ask(ForImages(start=start, end=end, study=study)).images]

    def named(self, sops: Sequence[str], study: str | None) -> list[Image]:
        """Return the images with some SOP Instance UIDs."""
        return [Image(*one) for one in self._ask(ForNamed(sops=tuple(sops), study=study)).images]

    def locks(self, sops: Sequence[str], study: str | None) -> list[tuple[str, str]]:
        """Return SOP Instance UID and problem of those images whose lock is not as it has to be."""
        return list(self._ask(ForLocks(sops=tuple(sops), study=study)).locks)

    def _ask(self, question: Question) -> Answer:
        content = self.post(question.model_dump_json(exclude_none=True).encode())
        try:
            return Answer.model_validate_json(content)
        except ValidationError as error:
            raise PeerError(f"the answer of the second site has {error.error_count()} mistakes") from None
