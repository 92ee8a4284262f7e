"""What one site tells the other of deletions: the message, and what the other one does with it."""

import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from hapacs_node import log
from hapacs_node.catalog import tombstones
from hapacs_node.catalog.database import Database
from hapacs_node.errors import NodeError
from hapacs_node.loopback import Orthanc

_LOG = log.get("tombstones")
MOST = 20
"""Images of one message: each is removed from the index by itself."""

Outcome = Literal["removed", "absent", "other"]
"""``removed`` from the index with a tombstone; ``absent`` from it; ``other`` bytes have these UIDs, and stay."""
_Uid = Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]


class Deleted(BaseModel):
    """An image that was deleted.

    Attributes
    ----------
    study, series, sop
        Its UIDs.
    digest
        SHA-256 of its bytes: an image with other ones stays.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    study: _Uid
    series: _Uid
    sop: _Uid
    digest: str = Field(pattern="^[0-9a-f]{64}$")


class Told(BaseModel):
    """What a site says to the other one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    images: tuple[Deleted, ...] = Field(min_length=1, max_length=MOST)


class Answer(BaseModel):
    """What came of it, in the order of the images."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    outcomes: tuple[Outcome, ...]


class Remover:
    """Removes from this site's index what was deleted at the other site. Bytes and locks stay.

    Parameters
    ----------
    database : Database
        The catalog's.
    orthanc : Orthanc
        That of this service.
    named : callable
        Returns the headers that name the caller of a thread.
    """

    def __init__(self, database: Database, orthanc: Orthanc, named: Callable[[int], Mapping[str, str]]) -> None:
        self.database, self.orthanc, self.named = database, orthanc, named

    def answer(self, content: bytes) -> dict[str, object]:
        """Remove the images of a message, and say what came of each.

        Raises
        ------
        ValidationError
            When the message has no meaning.
        NodeError
            When the catalog or Orthanc does not answer. The message can be repeated.
        """
        told = Told.model_validate_json(content)
        headers = self.named(threading.get_ident())
        outcomes = [self._remove(one, headers) for one in told.images]
        _LOG.info(log.line("deletions_of_other_site", images=len(outcomes), removed=outcomes.count("removed")))
        return Answer(outcomes=tuple(outcomes)).model_dump(mode="json")

    def _remove(self, deleted: Deleted, headers: Mapping[str, str]) -> Outcome:
        found = self.database.run(lambda c: tombstones.indexed(c, deleted.study, deleted.series, deleted.sop))
        same = [one for one in found if one.digest == deleted.digest]
        for one in same:
            status = self.orthanc.ask("DELETE", f"/instances/{one.resource}", headers).status
            if status not in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
                raise NodeError(f"Orthanc removed no instance: answer {status}")
        if same:
            return "removed"
        return "other" if found else "absent"
