"""Opens a session with a destination, and asks whether one answers, by the means of its kind."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from uuid import UUID

from hapacs_node.catalog.tasks import Task
from hapacs_node.probe.image import ProbeImage
from hapacs_node.routing import bucket, commit, folder, inquiry, send, stow
from hapacs_node.routing.destination import (
    Destination,
    DicomDestination,
    FolderDestination,
    S3Destination,
    commits,
)
from hapacs_node.routing.image import Pair, parse
from hapacs_node.routing.peer import Access, PeerError, Session


def open_session(destination: Destination, tasks: Sequence[Task], access: Access) -> AbstractContextManager[Session]:
    """Open a session to send some tasks.

    Raises
    ------
    PeerError
        When entered, if the destination refuses or does not answer.
    """
    if isinstance(destination, DicomDestination):
        return send.associate(destination, tasks, access)
    if isinstance(destination, FolderDestination):
        return folder.enter(destination)
    if isinstance(destination, S3Destination):
        return bucket.enter(destination, tasks, access)
    return stow.connect(destination, access)


def ping(destination: Destination, access: Access) -> str:
    """Ask a destination whether it answers, by the means of its kind; return its answer in words.

    Raises
    ------
    PeerError
        When it does not answer well.
    """
    if isinstance(destination, FolderDestination):
        return folder.ping(destination)
    if isinstance(destination, S3Destination):
        return bucket.ping(destination, access)
    if not isinstance(destination, DicomDestination):
        return stow.ping(destination, access)
    wanted = {destination.ae_title: {inquiry.VERIFICATION: "C-ECHO"}}
    if destination.query_title is not None:
        wanted.setdefault(destination.query_title, {})[inquiry.FIND] = "C-FIND"
    if commits(destination):
        wanted[destination.ae_title][commit.PUSH_MODEL] = "storage commitment"
    for title, operations in wanted.items():
        _ping(destination.called(title), operations, access)
    return "status 0x0000"


def send_image(destination: Destination, access: Access, image: ProbeImage) -> str:
    """Send a test image to a destination, and return what became of it in words. Nothing is recorded.

    Raises
    ------
    PeerError
        When the destination does not answer, or does not take the image.
    """
    dataset = image.dataset
    task = Task(
        0, UUID(int=0), image.study, image.series, image.sop, str(dataset.SOPClassUID),
        str(dataset.file_meta.TransferSyntaxUID), len(image.file), "test", None, 1,
    )  # fmt: skip
    with open_session(destination, [task], access) as session:
        (ended,) = session.send([(task, parse(image.file))])
    if ended.state != "confirmed":
        raise PeerError(f"{image.sop} was not taken: {ended.reason}")
    return f"{image.sop} was taken{f' ({ended.reason})' if ended.reason else ''}"


def _ping(peer: DicomDestination, operations: Mapping[Pair, str], access: Access) -> None:
    """Open an association for some operations, and send a C-ECHO if it is one of them."""
    with inquiry.inquire(peer, operations, access) as session:
        for pair, operation in operations.items():
            if pair not in session.accepted:
                raise PeerError(f"{peer.where} gives an association, but takes no {operation}")
        status = session.echo() if inquiry.VERIFICATION in operations else 0
    if status:
        raise PeerError(f"{peer.where} answers a C-ECHO with status 0x{status:04X}")
