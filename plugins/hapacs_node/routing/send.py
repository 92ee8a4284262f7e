"""Sends images by C-STORE: one association for many, each image as it is stored, byte for byte."""

import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import _config, build_context
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined] # made at import time

from hapacs_node.association import released, request
from hapacs_node.errors import NodeError
from hapacs_node.routing.model import Destination

# Its log of each message takes time and can contain patients' names.
_config.LOG_HANDLER_LEVEL = "none"

MAXIMUM_CONTEXTS = 128
"""DICOM PS3.8 9.3.2: presentation context identifiers are the odd numbers up to 255."""
_TITLE = "HAPACS"
_META_GROUP = 2
# Message identifiers are 16 bits (DICOM PS3.7 E.1).
_MESSAGES = 0xFFFF

VERIFICATION = (str(Verification), str(ImplicitVRLittleEndian))
"""The presentation context of a C-ECHO."""

Pair = tuple[str, str]
"""SOP class and transfer syntax."""


class PeerError(NodeError):
    """A destination gives no association, or does not answer."""


@dataclass(frozen=True)
class Identity:
    """Files of this node's certificate, and of the authority of the site.

    Attributes
    ----------
    certificate, key, authority : Path
        PEM.
    """

    certificate: Path
    key: Path
    authority: Path

    def context(self, authority: str | None) -> ssl.SSLContext:
        """Make a TLS context that shows the certificate, and requires one of an authority.

        The peer's host name is not compared: certificates of modalities and workstations seldom have one.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        context.load_cert_chain(self.certificate, self.key)
        if authority is None:
            context.load_verify_locations(self.authority)
        else:
            context.load_verify_locations(cadata=authority)
        return context


@dataclass(frozen=True)
class Message:
    """An image as a C-STORE request carries it.

    Attributes
    ----------
    sop_class, sop, transfer_syntax : UID
        From the file meta information.
    dataset : memoryview
        The encoded data set.
    """

    sop_class: UID
    sop: UID
    transfer_syntax: UID
    dataset: memoryview

    @property
    def pair(self) -> Pair:
        """The presentation context that it needs."""
        return str(self.sop_class), str(self.transfer_syntax)


def parse(content: bytes) -> Message:
    """Split a DICOM file into its names and its encoded data set.

    Raises
    ------
    NodeError
        When it is no DICOM file.
    """

    def is_data(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return tag.group != _META_GROUP

    file = BytesIO(content)
    try:
        read_preamble(file, force=False)
        meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=is_data)
        names = (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)
    except (InvalidDicomError, AttributeError, EOFError) as error:
        raise NodeError(f"the image is no DICOM file with file meta information: {error}") from None
    return Message(*names, memoryview(content)[file.tell() :])


@dataclass
class Session:
    """An open association.

    Attributes
    ----------
    accepted : dict
        Presentation context identifiers by pair.
    """

    accepted: dict[Pair, int]
    _association: Association
    _sent: int = 0

    def store(self, message: Message, priority: int) -> tuple[int, str]:
        """Send one image, and return status and comment of the answer.

        Raises
        ------
        PeerError
            When there is no answer.
        """
        self._sent += 1
        request = C_STORE()
        request.MessageID = self._sent % _MESSAGES + 1
        request.AffectedSOPClassUID = message.sop_class
        request.AffectedSOPInstanceUID = message.sop
        request.Priority = priority
        request.DataSet = BytesIO(message.dataset)
        if not self._association.is_established:
            raise PeerError("the destination ended the association")
        self._association.dimse.send_msg(request, self.accepted[message.pair])
        _, answer = self._association.dimse.get_msg(block=True)
        if not isinstance(answer, C_STORE) or answer.Status is None:
            raise PeerError("no answer to a C-STORE before the time limit, or the connection was lost")
        return int(answer.Status), str(answer.ErrorComment or "")

    def echo(self) -> int:
        """Send a C-ECHO, and return the status of the answer.

        Raises
        ------
        PeerError
            When there is none.
        """
        status = self._association.send_c_echo().get("Status")
        if status is None:
            raise PeerError("no answer to a C-ECHO before the time limit, or the connection was lost")
        return int(status)


@contextmanager
def associate(destination: Destination, pairs: Iterable[Pair], identity: Identity | None) -> Iterator[Session]:
    """Open an association for some pairs of SOP class and transfer syntax, and release it at the end.

    With one transfer syntax in each context the peer can't choose another one, so the stored bytes fit.

    Raises
    ------
    PeerError
        When the destination refuses, or does not answer.
    """
    contexts: list[PresentationContext] = [build_context(sop_class, [syntax]) for sop_class, syntax in pairs]
    where = f"{destination.ae_title} at {destination.host}:{destination.port}"
    tls = None
    if destination.tls:
        if identity is None:
            raise PeerError(f"{where} wants TLS, but this node has no certificate: run `hapacs up`")
        tls = identity.context(destination.authority)
    try:
        association, refusal = request(
            destination.calling_ae or _TITLE,
            destination.ae_title,
            destination.host,
            destination.port,
            contexts,
            timeout_s=destination.timeout_s,
            maximum_pdu=destination.maximum_pdu,
            tls=tls,
        )
    except OSError as error:
        raise PeerError(f"{where}: {error}") from error
    if refusal:
        raise PeerError(f"{where} refuses an association: {refusal}")
    if association.rejected_contexts and not association.accepted_contexts:
        # pynetdicom ends an association without a usable presentation context. The destination works.
        yield Session({}, association)
        return
    if not association.is_established:
        raise PeerError(f"{where} gives no association: no answer, or the connection was ended")
    _send_at_once(association)
    accepted = {
        (str(context.abstract_syntax), str(context.transfer_syntax[0])): int(context.context_id or 0)
        for context in association.accepted_contexts
    }
    with released(association):
        yield Session(accepted, association)


def _send_at_once(association: Association) -> None:
    """Switch Nagle's algorithm off: the data set would wait 40 ms for the acknowledgement of its command."""
    transport = association.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
