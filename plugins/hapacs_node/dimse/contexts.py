"""Which presentation contexts a caller gets, and in which transfer syntax (DICOM PS3.7 D.3, PS3.8 9.3)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
)

Operation = Literal["echo", "find", "get", "move", "worklist"]

VERIFICATION = "1.2.840.10008.1.1"
WORKLIST = "1.2.840.10008.5.1.4.31"
PATIENT_ROOT, STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.1.", "1.2.840.10008.5.1.4.1.2.2."
_MODELS: dict[str, Operation] = {"1": "find", "2": "move", "3": "get"}
OPERATIONS: dict[str, Operation] = {
    VERIFICATION: "echo",
    **{root + number: what for root in (PATIENT_ROOT, STUDY_ROOT) for number, what in _MODELS.items()},
    WORKLIST: "worklist",
}
"""The operation of each abstract syntax (PS3.4 C.6.1.3, C.6.2.3 and K.6.1.4)."""

QUERYING: frozenset[Operation] = frozenset({"echo", "find", "get", "move"})
SCHEDULING: frozenset[Operation] = frozenset({"echo", "worklist"})
"""Operations of the query/retrieve title, and of the one of the worklist."""

COMMANDS = frozenset({ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian})
"""Transfer syntaxes of identifiers."""
TARGETS: tuple[str, ...] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1)
"""What an image is transcoded to, in this order: nothing that loses pixels."""
_UNCOMPRESSED = TARGETS[:2]
# No decoder makes images of them, so an uncompressed context could carry none.
_VIDEO = ("1.2.840.10008.1.2.4.10", "1.2.840.10008.1.2.4.110")

ACCEPTED, USER_REJECTED, NO_ABSTRACT_SYNTAX, NO_TRANSFER_SYNTAX = 0, 1, 3, 4
"""Results of a presentation context (PS3.8 table 9-18)."""


@dataclass(frozen=True)
class Context:
    """An accepted presentation context: its identifier, abstract syntax and transfer syntax."""

    number: int
    abstract: str
    syntax: str


def answer(
    abstract: str,
    proposed: Sequence[str],
    may: Iterable[str],
    stores_to: Iterable[str],
    served: Iterable[str] = QUERYING,
) -> tuple[int, str | None]:
    """Answer a proposed presentation context.

    Parameters
    ----------
    abstract : str
        Abstract syntax.
    proposed : sequence of str
        Its transfer syntaxes, the caller's favourite first.
    may : iterable of str
        What the caller may do.
    stores_to : iterable of str
        SOP classes for which the caller takes the role of an SCP: what it gets by C-GET.
    served : iterable of str
        Operations of the called title.

    Returns
    -------
    int
        The result.
    str or None
        The transfer syntax, when it is accepted.
    """
    operation = OPERATIONS.get(abstract)
    if (operation is None and abstract not in stores_to) or (operation or "get") not in served:
        return NO_ABSTRACT_SYNTAX, None
    if (operation or "get") not in may:
        return USER_REJECTED, None
    chosen = next((one for one in proposed if one in COMMANDS), None) if operation else _for_images(proposed)
    return (NO_TRANSFER_SYNTAX, None) if chosen is None else (ACCEPTED, chosen)


def _for_images(proposed: Sequence[str]) -> str | None:
    """Choose the transfer syntax of images: what most images can be sent in, before it is known which ones."""
    if not proposed or proposed[0].startswith(_VIDEO):
        return next(iter(proposed), None)
    preferred = [one for one in _UNCOMPRESSED if one in proposed]
    # Nothing is made for these two: only what is stored so can be sent in them.
    others = [one for one in proposed if one not in {DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian}]
    return [*preferred, *others, *proposed][0]


def usable(contexts: Iterable[Context], sop_class: str, stored: str) -> list[Context]:
    """Return the contexts for an image in the order in which they are tried: as it is stored, then transcoded."""
    order = (stored, *TARGETS)
    fitting = [one for one in contexts if one.abstract == sop_class and one.syntax in order]
    return sorted(fitting, key=lambda one: order.index(one.syntax))


def proposals(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return what is proposed to a destination for images of some SOP classes and transfer syntaxes.

    Each context has one transfer syntax, so that the destination can't choose another one than the image has. In
    addition each class is proposed uncompressed.
    """
    wanted = dict.fromkeys(pairs)
    classes = dict.fromkeys(sop_class for sop_class, _ in wanted)
    return list(dict.fromkeys([*wanted, *((one, syntax) for one in classes for syntax in _UNCOMPRESSED)]))
