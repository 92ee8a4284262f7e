"""Asks a destination which images it has: by C-FIND (DICOM PS3.4 C.4.1), by QIDO-RS (PS3.18 10.6), or by its names."""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from urllib.parse import quote

from pydicom import Dataset

from hapacs_node.catalog.tasks import Task
from hapacs_node.errors import NodeError
from hapacs_node.routing import bucket, folder, inquiry, stow
from hapacs_node.routing.destination import (
    Destination,
    DicomDestination,
    FolderDestination,
    S3Destination,
    WebDestination,
)
from hapacs_node.routing.peer import Access, UnansweredError
from hapacs_node.routing.stow_answers import JSON

_PENDING = {0xFF00, 0xFF01}
# A peer that takes no list of UIDs may list the whole series.
_MOST_ANSWERS = 20_000
# So many UIDs fit into the line of a request of HTTP.
_IN_A_REQUEST = 50
_NO_MATCH = {204, 404}


class QueryError(NodeError):
    """A destination that may take images does not say which ones it lists."""


def listed(destination: Destination, tasks: Sequence[Task], access: Access) -> set[str]:
    """Return the SOP Instance UIDs of those images that a destination lists in their series.

    Raises
    ------
    QueryError
        When it does not answer the query with success.
    PeerError
        When it can't be reached.
    """
    if isinstance(destination, FolderDestination):
        return folder.present(destination, tasks)
    if isinstance(destination, S3Destination):
        return bucket.present(destination, tasks, access)
    by_series = sorted(tasks, key=_series)
    groups = [list(group) for _, group in groupby(by_series, _series)]
    try:
        if isinstance(destination, DicomDestination):
            found = _find(destination, groups, access)
        else:
            found = _search(destination, groups, access)
    except UnansweredError as error:
        raise QueryError(f"no answer to a query: {error}") from error
    return {task.sop for task in tasks} & found


def _series(task: Task) -> tuple[str, str]:
    return task.study, task.series


def _find(destination: DicomDestination, groups: Sequence[Sequence[Task]], access: Access) -> set[str]:
    peer = destination.called(destination.query_title or destination.ae_title)
    with inquiry.inquire(peer, [inquiry.FIND], access) as session:
        if inquiry.FIND not in session.accepted:
            raise QueryError(f"{peer.where} takes no C-FIND; name the title that does in query_ae")
        return {sop for group in groups for sop in _answers(session, group)}


def _answers(session: inquiry.Inquiry, group: Sequence[Task]) -> Iterator[str]:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID, query.SeriesInstanceUID = group[0].study, group[0].series
    query.SOPInstanceUID = [task.sop for task in group]
    answers = session.find(query)
    for status, identifier in islice(answers, _MOST_ANSWERS):
        if status in _PENDING and identifier is not None:
            yield str(identifier.get("SOPInstanceUID", ""))
        elif status == 0:
            return
        else:
            words = "no answer" if status is None else f"status 0x{status:04X}"
            raise QueryError(f"the destination answers a C-FIND with {words}")
    raise QueryError(f"the destination answers a C-FIND with more than {_MOST_ANSWERS} images of a series")


def _search(destination: WebDestination, groups: Sequence[Sequence[Task]], access: Access) -> set[str]:
    with stow.connect(destination, access) as session:
        return {
            sop
            for group in groups
            for at in range(0, len(group), _IN_A_REQUEST)
            for sop in _found(session, group[at : at + _IN_A_REQUEST])
        }


def _found(session: stow.WebSession, group: Sequence[Task]) -> Iterator[str]:
    study, series = quote(group[0].study, safe=""), quote(group[0].series, safe="")
    wanted = ",".join(quote(task.sop, safe="") for task in group)
    place = f"/studies/{study}/series/{series}/instances?SOPInstanceUID={wanted}"
    reply = session.ask("GET", place, {"Accept": JSON})
    if reply.code in _NO_MATCH:
        return
    if not reply.good:
        raise QueryError(f"the destination answers QIDO-RS with {stow.words(reply.code)}")
    try:
        yield from [str(item["00080018"]["Value"][0]) for item in json.loads(reply.body)]
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise QueryError(
            f"the destination answers QIDO-RS with what is no list of images: {type(error).__name__}"
        ) from None
