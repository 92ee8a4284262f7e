"""Accepts and requests associations (DICOM PS3.7 D.3, PS3.8 7.1 and 9.3)."""

import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext

from hapacs_node.dimse import contexts
from hapacs_node.dimse.contexts import Context, Operation
from hapacs_node.dimse.wire import (
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    MAXIMUM_PDU,
    Connection,
    EndedError,
    ProtocolError,
)

_APPLICATION = "1.2.840.10008.3.1.1.1"
# Below 2.25 anyone may make a UID of a UUID (PS3.5 B.2).
IMPLEMENTATION = UID("2.25.300200788435654268780283864367573459572")
VERSION = "HAPACS"
# A host that is off answers nothing.
_CONNECT_S = 15
# Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 table 9-21).
_UNKNOWN_CALLED, _UNKNOWN_CALLING, _NO_ROOM = (1, 1, 7), (1, 1, 3), (2, 3, 2)


@dataclass(frozen=True)
class Caller:
    """A system that may open associations.

    Attributes
    ----------
    title : str
        Its AE title.
    may : frozenset of str
        What it may do: ``echo``, ``find``, ``get``, ``move``, ``worklist``.
    host : str
        Where it takes the images of a C-MOVE; empty when it takes none.
    port : int
        The port there.
    """

    title: str
    may: frozenset[str]
    host: str = ""
    port: int = 0


@dataclass(frozen=True)
class Accepted:
    """An association that was accepted: its caller and its presentation contexts by identifier."""

    caller: Caller
    contexts: Mapping[int, Context]


def accept(
    connection: Connection, titles: Mapping[str, frozenset[Operation]], callers: Mapping[str, Caller], *, room: bool
) -> Accepted | None:
    """Receive a request and answer it; None when it is refused.

    Parameters
    ----------
    connection : Connection
        Just opened.
    titles : mapping
        Our AE titles, with the operations of each.
    callers : mapping
        Who may open associations, by title.
    room : bool
        Whether another association may be opened.

    Raises
    ------
    EndedError
        When no request comes, or one that has no meaning.
    """
    kind, pdu = connection.pdu()
    if kind != ASSOCIATE_RQ:
        raise ProtocolError(f"PDU type {kind} in the place of an association request")
    request = _decoded(A_ASSOCIATE_RQ(), pdu)
    caller = callers.get((request.calling_ae_title or "").strip())
    served = titles.get((request.called_ae_title or "").strip())
    refusal = None
    if served is None:
        refusal = _UNKNOWN_CALLED
    elif caller is None:
        refusal = _UNKNOWN_CALLING
    elif not room:
        refusal = _NO_ROOM
    if refusal is not None or caller is None or served is None:
        connection.write(_rejected(request, refusal or _UNKNOWN_CALLING))
        return None
    connection.peer_maximum = request.maximum_length_received or 0
    roles = _scp_roles(request.user_information)
    accepted: dict[int, Context] = {}
    results = []
    for proposed in request.presentation_context_definition_list:
        syntaxes = [str(one) for one in proposed.transfer_syntax]
        result, syntax = contexts.answer(str(proposed.abstract_syntax), syntaxes, caller.may, roles, served)
        if syntax is not None:
            number = int(proposed.context_id or 0)
            accepted[number] = Context(number, str(proposed.abstract_syntax), syntax)
        results.append(_context(proposed, [syntax or syntaxes[0]], result))
    answer = _primitive(request.called_ae_title, request.calling_ae_title)
    answer.result, answer.result_source = 0, 1
    for sop_class in {one.abstract for one in accepted.values()} & roles:
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid, role.scu_role, role.scp_role = UID(sop_class), False, True
        answer.user_information.append(role)
    answer.presentation_context_definition_results_list = results
    encoded = A_ASSOCIATE_AC()
    encoded.from_primitive(answer)
    connection.write(encoded.encode())
    return Accepted(caller, accepted)


def request(
    calling: str,
    called: str,
    where: tuple[str, int],
    pairs: Sequence[tuple[str, str]],
    timeout_s: float,
    *,
    tls: ssl.SSLContext | None = None,
) -> tuple[Connection, list[Context]]:
    """Open an association to store images.

    Parameters
    ----------
    calling, called : str
        AE titles.
    where : tuple
        Host and port.
    pairs : sequence
        SOP classes and transfer syntaxes, at most 128.
    timeout_s : float
        Limit for each wait.
    tls : ssl.SSLContext or None
        For TLS, with the host as the name in the peer's certificate.

    Returns
    -------
    Connection
        The association's.
    list of Context
        What was accepted.

    Raises
    ------
    EndedError
        When the peer refuses or does not answer; the message says which.
    """
    proposed = {2 * place + 1: pair for place, pair in enumerate(pairs)}
    primitive = _primitive(called, calling)
    primitive.presentation_context_definition_list = []
    for number, (sop_class, syntax) in proposed.items():
        context = PresentationContext()
        context.context_id, context.abstract_syntax, context.transfer_syntax = number, UID(sop_class), [UID(syntax)]
        primitive.presentation_context_definition_list.append(context)
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    try:
        connected = _connect(where, min(timeout_s, _CONNECT_S), tls)
    except OSError as error:
        raise EndedError(f"{where[0]}:{where[1]} can't be reached: {error}") from None
    connected.settimeout(timeout_s)
    connection = Connection(connected)
    try:
        connection.write(pdu.encode())
        answer = _accepted(*connection.pdu())
    except BaseException:
        connection.close()
        raise
    connection.peer_maximum = answer.maximum_length_received or 0
    accepted = [
        Context(number, *proposed[number])
        for one in answer.presentation_context_definition_results_list
        if not one.result and (number := int(one.context_id or 0)) in proposed
    ]
    return connection, accepted


def _connect(where: tuple[str, int], timeout_s: float, tls: ssl.SSLContext | None) -> socket.socket:
    plain = socket.create_connection(where, timeout=timeout_s)
    if tls is None:
        return plain
    try:
        return tls.wrap_socket(plain, server_hostname=where[0])
    except OSError:
        plain.close()
        raise


def _accepted(kind: int, content: bytes) -> A_ASSOCIATE:
    if kind == ASSOCIATE_RJ:
        raise EndedError(f"the association is refused: {_refusal(content)}")
    if kind != ASSOCIATE_AC:
        raise EndedError("the association is refused: the peer aborts it")
    return _decoded(A_ASSOCIATE_AC(), content)


def _decoded(pdu: A_ASSOCIATE_RQ | A_ASSOCIATE_AC, content: bytes) -> A_ASSOCIATE:
    try:
        pdu.decode(content)
        return pdu.to_primitive()
    except Exception as error:  # noqa: BLE001 - pynetdicom raises anything for garbage
        raise ProtocolError(f"the association's PDU can't be decoded: {type(error).__name__}") from None


def _primitive(called: str | None, calling: str | None) -> A_ASSOCIATE:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = UID(_APPLICATION)
    primitive.called_ae_title, primitive.calling_ae_title = called or "", calling or ""
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = MAXIMUM_PDU
    implementation.implementation_class_uid = IMPLEMENTATION
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = VERSION
    primitive.user_information = [length, implementation, version]
    return primitive


def _context(proposed: PresentationContext, syntaxes: Sequence[str], result: int) -> PresentationContext:
    context = PresentationContext()
    context.context_id = proposed.context_id
    context.abstract_syntax, context.transfer_syntax = proposed.abstract_syntax, [UID(one) for one in syntaxes]
    context.result = result
    return context


def _scp_roles(user_information: Sequence[object]) -> frozenset[str]:
    return frozenset(
        str(item.sop_class_uid)
        for item in user_information
        if isinstance(item, SCP_SCU_RoleSelectionNegotiation) and item.scp_role
    )


def _rejected(request: A_ASSOCIATE, refusal: tuple[int, int, int]) -> bytes:
    request.result, request.result_source, request.diagnostic = refusal
    pdu = A_ASSOCIATE_RJ()
    pdu.from_primitive(request)
    return pdu.encode()


def _refusal(content: bytes) -> str:
    pdu = A_ASSOCIATE_RJ()
    pdu.decode(content)
    return f"{pdu.result_str}, {pdu.reason_str}"
