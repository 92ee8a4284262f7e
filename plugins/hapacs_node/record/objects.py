"""Writes one log event for each object that is stored, refused, retrieved or removed, with its caller.

Orthanc makes three calls on the same thread: it names the caller, passes the bytes, and reports that the image is in
the index. So the parts of an event are kept by thread until it is complete.
"""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from hapacs_node import log
from hapacs_node.admission import Admission
from hapacs_node.catalog.index import DICOM
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.catalog.removals import Reason, Removal
from hapacs_node.errors import NodeError, ReplacementRefusedError
from hapacs_node.fence import Fence
from hapacs_node.record import identity, web
from hapacs_node.record.addresses import Addresses
from hapacs_node.record.caller import Caller
from hapacs_node.record.replacement import Replacement
from hapacs_node.replication.names import CALLER
from hapacs_node.storage import names
from hapacs_node.storage.area import StorageArea

_LOG = log.get("objects")


@dataclass
class Objects:
    """The storage area as Orthanc's threads call it, with an event for each object.

    Parameters
    ----------
    storage : StorageArea
        The storage area.
    addresses : Addresses
        Requests the addresses of DICOM callers.
    replacement : Replacement
        Decides whether an image may replace another one.
    admission : Admission
        Decides whether a caller yields to others.
    fence : Fence
        Refuses callers while the other site leads.
    """

    storage: StorageArea
    addresses: Addresses
    replacement: Replacement
    admission: Admission
    fence: Fence
    _callers: dict[int, Caller] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        about = "Images that replaced one with the same UIDs and other bytes"
        self._replaced = self.storage.metrics.counter("hapacs_images_replaced", about, ["caller"])

    def dicom_arrived(self, thread: int, title: str) -> None:
        """Remember that a thread has received an image by C-STORE."""
        self._callers[thread] = Caller(time.monotonic(), title, address=self.addresses.of(title))

    @property
    def decides(self) -> bool:
        """Whether an image can be refused before its bytes are stored, see `admit`."""
        return self.replacement.rule != "allow" or self.admission.decides or self.fence.why is not None

    def admit(self, thread: int, content: bytes) -> None:
        """Check that the site stores, that the caller yields to nobody, and that the image may replace what is there.

        Raises
        ------
        FencedError
            When the other site leads.
        NotAdmittedError
            When its caller yields to others.
        ReplacementRefusedError
            When it may not replace the present image.
        CatalogError
            When the catalog can't be asked.
        """
        if self.decides:
            self._check(thread, identity.of(content), names.digest_of(content), size=len(content))

    def has_copy(self, thread: int, content: bytes) -> bool:
        """Return whether a thread's image is a copy of the other site that is here already.

        Storing it again would take it out of the index for a moment.

        Raises
        ------
        ReplacementRefusedError
            When both sites got an image with its UIDs, and other bytes.
        CatalogError
            When the catalog can't be asked.
        """
        if self._caller(thread).who != CALLER:
            return False
        about, digest = identity.of(content), names.digest_of(content)
        try:
            return self.replacement.has_copy(about, digest)
        except ReplacementRefusedError as error:
            self._refused(thread, about, digest=digest, size=len(content), outcome=type(error).__name__, error=error)
            raise

    def http_arrived(self, thread: int, path: str, headers: Mapping[str, str], *, reads: bool) -> None:
        """Remember that a thread has received a web request, and record a DICOMweb request.

        Parameters
        ----------
        thread : int
            Orthanc's thread.
        path : str
            Without query string.
        headers : mapping
            By names in lower case. They come from the balancer, because no other client has a certificate.
        reads : bool
            Whether the request is a GET.
        """
        asked = web.Asked.of(path) if reads else None
        caller = Caller(
            time.monotonic(),
            user=headers.get("x-hapacs-user"),
            address=headers.get("x-forwarded-for"),
            recorded=asked is not None,
        )
        self._callers[thread] = caller
        if asked is not None:
            self._record(caller, asked.event, what=asked.what, study=asked.study, series=asked.series, sop=asked.sop)

    def stow_arrived(self, path: str, headers: Mapping[str, str]) -> None:
        """Remember that this thread has received a request of STOW-RS."""
        self.http_arrived(threading.get_ident(), path, headers, reads=False)

    def named(self, thread: int) -> dict[str, str]:
        """Return the headers that name a thread's caller when it asks Orthanc on its behalf, see `http_arrived`."""
        caller = self._caller(thread)
        told = {"X-Hapacs-User": caller.user, "X-Forwarded-For": caller.address}
        return {name: value for name, value in told.items() if isinstance(value, str)}

    def create(self, thread: int, name: str, content_type: int, content: bytes) -> None:
        """Store an attachment; see `StorageArea.create`."""
        if content_type != DICOM:
            self.storage.create(name, content_type, content)
            return
        caller = self._caller(thread)
        if caller.title is None:
            # One HTTP request may store many images. The time of a C-STORE starts when it arrives.
            caller.began = time.monotonic()
        about = identity.of(content)
        if caller.title is None and self.decides:
            # A C-STORE was checked when it arrived, where it can be answered with a status of its own.
            self._check(thread, about, names.digest_of(content), uuid=name, size=len(content))
        try:
            row = self.storage.create(name, content_type, content, caller.who)
        except BaseException as error:
            digest = names.digest_of(content)
            self._refused(thread, about, uuid=name, digest=digest, size=len(content), outcome=type(error).__name__)
            raise
        if row is not None:
            caller.created = (row, about)

    def stored(self, thread: int, via: str | None) -> None:
        """Record that Orthanc has put a thread's image into its index.

        Parameters
        ----------
        thread : int
            Orthanc's thread.
        via : str or None
            The address that Orthanc recorded.
        """
        caller = self._callers.get(thread)
        if caller is None or caller.created is None:
            return
        (row, about), caller.created = caller.created, None
        self._end(thread, caller)
        if caller.title is None:
            # The address is this node's own, because TLS of the web ends on the same node.
            via = None
        self._record(caller, "stored", **_about(about), **_of(row), via=via, seconds=_since(caller), outcome="stored")

    def read(self, thread: int, name: str, content_type: int) -> bytes:
        """Read an attachment; see `StorageArea.read`."""
        if content_type != DICOM:
            return self.storage.read(name, content_type)
        caller = self._callers.get(thread)
        began = time.monotonic()
        try:
            content = self.storage.read(name, content_type)
        except BaseException as error:
            self._record(caller, "retrieved", uuid=name, seconds=_since(began), outcome=type(error).__name__)
            raise
        if caller is None or not caller.recorded:
            about = _about(identity.of(content))
            row = self.storage.reader.row(UUID(name))
            self._record(caller, "retrieved", **about, **_of(row), seconds=_since(began), outcome="read")
        return content

    def remove(self, thread: int, name: str, content_type: int) -> None:
        """Remove an attachment; see `StorageArea.remove`."""
        if content_type != DICOM:
            self.storage.remove(name, content_type, Removal("removed"))
            return
        caller = self._callers.get(thread)
        created = None if caller is None else caller.created
        began = time.monotonic()
        uuid = names.checked_uuid(name)
        reason, about = self._reason(uuid, created)
        removal = Removal(reason, None if caller is None else caller.who, about.study, about.series, about.sop)
        row = self.storage.remove(name, content_type, removal)
        if row is None:
            return
        if reason == "refused":
            # Orthanc could not put it into its index, and removes it.
            self._refused(thread, about, **_of(row), outcome="not indexed")
        elif reason == "replaced" and created is not None:
            old, new = row.caller, created[0].caller
            self._replaced.labels("unknown" if None in (old, new) else "same" if old == new else "other").inc()
            fields = {"new_digest": created[0].digest, "old_caller": old, "new_caller": new}
            self._record(caller, "replaced", **_about(about), **_of(row), **fields, seconds=_since(began))
        else:
            self._record(caller, "removed", **_about(about), **_of(row), seconds=_since(began), outcome=reason)

    def _reason(
        self, uuid: UUID, created: tuple[StoredObject, identity.Identity] | None
    ) -> tuple[Reason, identity.Identity]:
        """Return why an attachment is removed, and its UIDs as far as they can be read."""
        if created is not None and created[0].uuid == uuid:
            return "refused", created[1]
        with suppress(NodeError):
            row = self.storage.reader.row(uuid)
            if created is not None:
                # An image that is stored again replaces the one with the same UIDs.
                return "resent" if created[0].digest == row.digest else "replaced", created[1]
            return "removed", identity.of(self.storage.reader.head(row))
        return "removed", identity.Identity()

    def _check(self, thread: int, about: identity.Identity, digest: str, **fields: object) -> None:
        caller = self._caller(thread)
        try:
            self.fence.check(caller.who)
            self.admission.check(caller.who)
            self.replacement.check(about, digest, caller.who)
        except NodeError as error:
            self._refused(thread, about, digest=digest, **fields, outcome=type(error).__name__, error=error)
            raise

    def _caller(self, thread: int) -> Caller:
        # A thread that Orthanc started for itself has no caller.
        return self._callers.setdefault(thread, Caller(time.monotonic()))

    def _end(self, thread: int, caller: Caller) -> None:
        # One HTTP request may store many images; a C-STORE is one image.
        if caller.title is not None or caller.address is None:
            self._callers.pop(thread, None)

    def _refused(self, thread: int, about: identity.Identity, **fields: object) -> None:
        caller = self._caller(thread)
        caller.created = None
        self._end(thread, caller)
        self._record(caller, "refused", **_about(about), **fields, seconds=_since(caller))

    @staticmethod
    def _record(caller: Caller | None, event: str, **fields: object) -> None:
        caller = caller or Caller(0)
        write = _LOG.warning if event in {"refused", "replaced"} else _LOG.info

        def complete(address: str | None) -> None:
            write(log.line(event, **fields, caller=caller.title, user=caller.user, address=address))

        if isinstance(caller.address, Future):
            # Runs at once when the address is known, else on the thread that requests it.
            caller.address.add_done_callback(lambda answer: complete(answer.result()))
        else:
            complete(caller.address)


def _about(about: identity.Identity) -> dict[str, object]:
    return {"sop": about.sop, "series": about.series, "study": about.study}


def _of(row: StoredObject) -> dict[str, object]:
    return {"uuid": row.uuid, "digest": row.digest, "size": row.size}


def _since(began: Caller | float) -> str:
    return f"{time.monotonic() - (began.began if isinstance(began, Caller) else began):.3f}"
