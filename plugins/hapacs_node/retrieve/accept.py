"""Reads which media types a client accepts (RFC 9110 12.5.1, DICOM PS3.18 8.3.3.1 and 8.7)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs

ANY = "*/*"
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # noqa: S105 - the name of the grammar
# Both take a time that grows with the length only, whatever a client sends.
_RANGE = re.compile(rf'({_TOKEN}/{_TOKEN})((?:\s*;\s*{_TOKEN}\s*=\s*(?:"[^"]*"|[^\s;,"]+))*)\s*;?', re.ASCII)
_BETWEEN_COMMAS = re.compile(r'(?:[^,"]|"[^"]*"?)+')
_PARAMETER = re.compile(rf';\s*({_TOKEN})\s*=\s*(?:"([^"]*)"|([^\s;,"]+))', re.ASCII)


@dataclass(frozen=True)
class Range:
    """One media range.

    Attributes
    ----------
    type : str
        In lower case, for example ``multipart/related`` or ``image/*``.
    parameters : dict
        Names in lower case; without the quality.
    """

    type: str
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def part(self) -> str | None:
        """The type of the parts of ``multipart/related``, in lower case; None when it is left open."""
        wanted = self.parameters.get("type", ANY).lower()
        return None if wanted == ANY else wanted

    @property
    def syntax(self) -> str | None:
        """The transfer syntax, ``*`` for any; None when it is not named."""
        return self.parameters.get("transfer-syntax")


def ranges(headers: Sequence[str], query: str = "") -> tuple[Range, ...]:
    """Return what is accepted, the best first; a malformed range is left out.

    Parameters
    ----------
    headers : sequence of str
        The values of all Accept headers.
    query : str
        Query string of the request. Its parameter ``accept`` replaces the headers.
    """
    named = parse_qs(query).get("accept")
    text = ",".join(headers if named is None else named)
    if not text.strip():
        return (Range(ANY),)
    found = []
    for one in _BETWEEN_COMMAS.findall(text):
        if (match := _RANGE.fullmatch(one.strip())) is None:
            continue
        parameters = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(match[2])}
        if (quality := _quality(parameters.pop("q", "1"))) > 0:
            found.append((quality, Range(match[1].lower(), parameters)))
    return tuple(one for _, one in sorted(found, key=lambda pair: -pair[0]))


def _quality(text: str) -> float:
    return float(text) if re.fullmatch(r"[01](\.[0-9]{0,3})?", text, re.ASCII) else 1.0
