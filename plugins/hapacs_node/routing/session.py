"""Opens a session with a destination, and asks whether one answers, by the means of its kind."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from hapacs_node.catalog.tasks import Task
from hapacs_node.routing import folder, send, stow
from hapacs_node.routing.destination import Destination, DicomDestination, FolderDestination, is_asked
from hapacs_node.routing.peer import Access, PeerError, Session


def open_session(destination: Destination, tasks: Sequence[Task], access: Access) -> AbstractContextManager[Session]:
    """Open a session to send some tasks.

    Raises
    ------
    PeerError
        When entered, if the destination refuses or does not answer.
    """
    if isinstance(destination, DicomDestination):
        return send.associate(destination, map(send.pair, tasks), access)
    if isinstance(destination, FolderDestination):
        return folder.enter(destination)
    return stow.connect(destination, access)


def ping(destination: Destination, access: Access) -> str:
    """Ask a destination whether it answers, by C-ECHO, OPTIONS, or a file that is written; return its answer in words.

    Raises
    ------
    PeerError
        When it does not answer well.
    """
    if isinstance(destination, FolderDestination):
        return folder.ping(destination)
    if not isinstance(destination, DicomDestination):
        return stow.ping(destination, access)
    wanted = [send.VERIFICATION, *([send.FIND] if is_asked(destination) else [])]
    with send.associate(destination, wanted, access) as session:
        for pair, operation in ((send.VERIFICATION, "C-ECHO"), (send.FIND, "C-FIND")):
            if pair in wanted and pair not in session.accepted:
                raise PeerError(f"{destination.where} gives an association, but takes no {operation}")
        status = session.echo()
    if status:
        raise PeerError(f"{destination.where} answers a C-ECHO with status 0x{status:04X}")
    return "status 0x0000"
