"""A manifest: what the archive got on one day, as lines of JSON.

It is made of parts. Each is an object of the archive of its own, and one piece of a volume file. Its first line says
what it belongs to; any program that reads gzip and JSON can read it without our database.
"""

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from io import BytesIO
from itertools import batched, chain
from typing import Any, Self
from uuid import UUID, uuid4

from hapacs_node.catalog.manifest import Archived
from hapacs_node.storage import names

FORMAT = 1
# With long UIDs about 3 MB when compressed; SeaweedFS keeps up to 4 MiB in one piece.
_LINES = 16_000
_MOST_BYTES = 256_000_000
_KEY = re.compile(rf"{names.MANIFESTS}/([0-9-]{{10}})/([0-9a-f-]{{36}})-([0-9]{{5}})(-last)?\.jsonl\.gz")
_FIELDS = ("digest", "key", "offset", "length", "type", "study", "series", "sop", "removed")


class ManifestError(ValueError):
    """An object is no part of a manifest, or can't be read."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a manifest says of an image.

    Attributes
    ----------
    digest, key, offset, length, type
        Its bytes, and where they are; see `Archived`.
    study, series, sop : str or None
        Its UIDs.
    removed : str or None
        Why it was removed; None while it is in the index.
    """

    digest: str
    key: str
    offset: int
    length: int
    type: int
    study: str | None
    series: str | None
    sop: str | None
    removed: str | None


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a part.

    Attributes
    ----------
    day : date
        The day, UTC.
    run : UUID
        Names the parts that were written together.
    number : int
        From 0.
    last : bool
        Whether it is the last one of the run.
    """

    day: date
    run: UUID
    number: int
    last: bool

    @property
    def key(self) -> str:
        """Its key in the archive: a list of the keys shows which manifests are complete."""
        last = "-last" * self.last
        return f"{names.MANIFESTS}/{self.day.isoformat()}/{self.run}-{self.number:05d}{last}.jsonl.gz"

    @classmethod
    def of(cls, key: str) -> Self | None:
        """Return the name that a key has; None when it is none."""
        found = _KEY.fullmatch(key)
        if found is None:
            return None
        try:
            return cls(date.fromisoformat(found[1]), UUID(found[2]), int(found[3]), found[4] is not None)
        except ValueError:
            return None


def parts(
    site: str, day: date, stored: Iterable[Archived], removed: Iterable[Archived]
) -> Iterator[tuple[Name, bytes]]:
    """Write the manifest of a day, part by part: first what was removed that was older, then what was stored on it.

    So the last line of a digest says what became of it.

    A day without images has one part without lines.
    """
    run = uuid4()
    pages = batched(chain(map(_line, removed), map(_line, stored)), _LINES)
    page, number = next(pages, ()), 0
    while True:
        following = next(pages, None)
        name = Name(day, run, number, following is None)
        head = {
            "hapacs_manifest": FORMAT,
            "site": site,
            "day": day.isoformat(),
            "run": str(run),
            "part": number,
            "last": name.last,
            "lines": len(page),
        }
        # Always the same bytes for the same lines.
        yield name, gzip.compress("\n".join([json.dumps(head), *page, ""]).encode(), mtime=0)
        if following is None:
            return
        page, number = following, number + 1


def lines(content: bytes) -> list[Line]:
    """Read a part.

    Raises
    ------
    ManifestError
    """
    try:
        first, *found = [json.loads(line) for line in _unpacked(content).decode().splitlines()]
        if first["hapacs_manifest"] != FORMAT or first["lines"] != len(found):
            raise ManifestError("it is of another version, or lines are missing")
        return [Line(**{name: one.get(name) for name in _FIELDS}) for one in found]
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestError(str(error)) from error


def _unpacked(content: bytes) -> bytes:
    with gzip.open(BytesIO(content)) as packed:
        text = packed.read(_MOST_BYTES + 1)
    if len(text) > _MOST_BYTES:
        raise ManifestError("it is far too large")
    return text


def _line(one: Archived) -> str:
    about: Mapping[str, Any] = asdict(one) | {"stored_at": one.stored_at.isoformat()}
    return json.dumps({name: value for name, value in about.items() if value is not None})
