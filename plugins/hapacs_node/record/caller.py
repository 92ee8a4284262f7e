"""The caller of a thread's work in Orthanc."""

from concurrent.futures import Future
from dataclasses import dataclass

from hapacs_node.catalog.objects import StoredObject
from hapacs_node.record.identity import Identity


@dataclass
class Caller:
    """The caller of a thread's work.

    Attributes
    ----------
    began : float
        When the work began, monotonic seconds.
    title : str or None
        Calling title of an association.
    user : str or None
        User of a web request.
    address : Future or str or None
        The caller's own address.
    recorded : bool
        Whether an event already names the request.
    created : tuple of StoredObject and Identity, or None
        An image that is in the storage area, and not yet in the index.
    """

    began: float
    title: str | None = None
    user: str | None = None
    address: Future[str] | str | None = None
    recorded: bool = False
    created: tuple[StoredObject, Identity] | None = None

    @property
    def who(self) -> str | None:
        """The caller for the catalog: ``title:...`` or ``user:...``; None for a node or the controller."""
        kinds = {"title": self.title, "user": self.user}
        return next((f"{kind}:{name}" for kind, name in kinds.items() if name), None)
