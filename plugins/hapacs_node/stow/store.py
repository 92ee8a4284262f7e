"""Stores the parts of a request, and says of each what became of it (DICOM PS3.18 10.5.3)."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from hapacs_node.record import identity
from hapacs_node.stow.body import Part

MEDIA_TYPE = "application/dicom"
_PREAMBLE = 128
CANNOT_UNDERSTAND, OUT_OF_RESOURCES, NOT_AUTHORIZED, MISMATCH = 0xC000, 0xA700, 0x0124, 0xA900
"""Failure reasons: those of a C-STORE (PS3.18 table 10.5.3-2, PS3.4 B.2.3)."""

type Keep = Callable[[bytes], int]
"""Stores a DICOM file; returns zero, or why it is not stored."""


@dataclass(frozen=True)
class Outcome:
    """What became of a part: zero when it is stored, otherwise the failure reason."""

    about: identity.Identity
    reason: int


@dataclass
class Answer:
    """The answer to a request.

    Parameters
    ----------
    root : str
        URL of the DICOMweb service.
    study : str or None
        Study Instance UID of the request's path; all images must belong to it.
    """

    root: str
    study: str | None
    outcomes: list[Outcome] = field(default_factory=list)
    cut_short: bool = False

    def take(self, parts: Iterable[Part], keep: Keep) -> None:
        """Store parts one after the other."""
        for part in parts:
            about = identity.of(part.content)
            self.outcomes.append(Outcome(about, self._reason(part, about, keep)))

    def _reason(self, part: Part, about: identity.Identity, keep: Keep) -> int:
        if not part.whole:
            self.cut_short = True
        # Orthanc takes archives of files too, whose answer would name none of them.
        is_file = part.content[_PREAMBLE : _PREAMBLE + 4] == b"DICM" and not part.content.startswith(b"PK")
        if not part.whole or not is_file or part.type != MEDIA_TYPE:
            return CANNOT_UNDERSTAND
        if self.study is not None and about.study not in {self.study, None}:
            return MISMATCH
        return keep(part.content)

    @property
    def stored(self) -> int:
        """The number of stored parts."""
        return sum(not one.reason for one in self.outcomes)

    @property
    def status(self) -> HTTPStatus:
        """The status of the whole request."""
        reasons = {one.reason for one in self.outcomes}
        if not self.outcomes:
            return HTTPStatus.BAD_REQUEST
        if self.stored:
            return HTTPStatus.OK if reasons == {0} else HTTPStatus.ACCEPTED
        if reasons == {OUT_OF_RESOURCES}:
            return HTTPStatus.SERVICE_UNAVAILABLE
        return HTTPStatus.BAD_REQUEST if reasons == {CANNOT_UNDERSTAND} else HTTPStatus.CONFLICT

    def document(self) -> bytes:
        """Return the store instances response in the DICOM JSON model."""
        studies = {one.about.study for one in self.outcomes if not one.reason}
        document: dict[str, Any] = {}
        if len(studies) == 1 and None not in studies:
            document["00081190"] = {"vr": "UR", "Value": [f"{self.root}/studies/{studies.pop()}"]}
        else:
            document["00081190"] = {"vr": "UR"}
        failed = [_item(one.about) | _value("00081197", "US", one.reason) for one in self.outcomes if one.reason]
        stored = [
            _item(one.about) | _value("00081190", "UR", self._url(one.about)) for one in self.outcomes if not one.reason
        ]
        if failed:
            document["00081198"] = {"vr": "SQ", "Value": failed}
        if stored:
            document["00081199"] = {"vr": "SQ", "Value": stored}
        return json.dumps(document, separators=(",", ":")).encode()

    def _url(self, about: identity.Identity) -> str:
        return f"{self.root}/studies/{about.study}/series/{about.series}/instances/{about.sop}"


def _item(about: identity.Identity) -> dict[str, Any]:
    # What can't be identified has its place in the list all the same, with empty UIDs.
    return _value("00081150", "UI", about.sop_class) | _value("00081155", "UI", about.sop)


def _value(key: str, vr: str, value: object) -> dict[str, Any]:
    return {key: {"vr": vr} if value is None else {"vr": vr, "Value": [value]}}
