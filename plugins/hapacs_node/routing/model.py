"""The rules of a site: destinations, and which images go to them. Nothing in the model is evaluated as code."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from hapacs_node.routing import attributes

Priority = Literal["urgent", "normal", "bulk"]
LANES: dict[Priority, int] = {"urgent": 0, "normal": 1, "bulk": 2}
Each = Literal["instance", "series", "study"]
KIND = "route"
"""The kind of tasks that rules make."""

# A copy with other UIDs would be another instance.
_KEPT = {"SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "PixelData", "TransferSyntaxUID"}


def _attribute(name: str) -> str:
    attributes.parse(name)
    return name


def _changeable(name: str) -> str:
    found = attributes.parse(name)
    if found.tag is None or found.creator:
        raise ValueError(f"{name} can't be changed; only standard attributes can")
    if found.name in _KEPT or found.tag.group < 8:  # noqa: PLR2004 - below are file meta information and commands
        raise ValueError(f"{name} can't be changed; it identifies the image or says how it is encoded")
    return name


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return pattern


def _window(window: str) -> str:
    begin, end = window.partition(" ")[2].split("-")
    if begin == end:
        raise ValueError(f"{window} is never open: it ends when it begins; write daily 00:00-23:59, or another end")
    return window


SHAPES: dict[str, str] = {}
"""What a text must look like, in words, by the pattern that checks it: errors of the settings show the words."""


def _shape(pattern: str, words: str) -> StringConstraints:
    SHAPES[pattern] = words
    return StringConstraints(pattern=pattern)


Name = Annotated[
    str,
    _shape(
        r"^[a-z][a-z0-9_-]{0,31}$", "write small letters, digits, underscores and hyphens, a letter first, at most 32"
    ),
]
AttributeName = Annotated[str, AfterValidator(_attribute)]
ChangedName = Annotated[str, AfterValidator(_changeable)]
Regex = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_regex)]
Quiet = Annotated[int, Field(strict=True, ge=5, le=86400)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Title = Annotated[
    str,
    _shape(
        r"^[\x21-\x5b\x5d-\x7e]([\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?$",
        "write an AE title: 1 to 16 letters, digits and signs of ASCII, no backslash, no space first or last",
    ),
]
Host = Annotated[
    str,
    _shape(r"^[A-Za-z0-9]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?$", "write an address or a host name, without the port"),
]
Window = Annotated[
    str,
    _shape(
        r"^(daily|Mon|Tue|Wed|Thu|Fri|Sat|Sun) ([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$",
        "write a day (Mon to Sun, or daily) and two times in UTC, such as daily 20:00-06:00",
    ),
    AfterValidator(_window),
]
Pem = Annotated[
    str,
    _shape(
        r"^-----BEGIN CERTIFICATE-----\s[\s\S]+-----END CERTIFICATE-----\s*$",
        "write the certificates in PEM, from the first BEGIN CERTIFICATE to the last END CERTIFICATE",
    ),
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Destination(_Part):
    """A peer that images are sent to by C-STORE.

    Attributes
    ----------
    ae_title
        Its AE title.
    host, port
        Its address.
    calling_ae
        The title that calls it. Not given: the site's store title.
    tls
        Opens associations with TLS and this node's certificate.
    authority
        Certificates (PEM) of the authorities that may have signed the peer's certificate. Not given: the site's own.
    associations
        Associations at the same time, over all nodes.
    mb_per_s
        Limit of the rate, megabytes in a second, over all associations. Not given: none.
    window
        When images are sent, in UTC, such as ``daily 20:00-06:00``. Not given: always.
    maximum_pdu
        Longest PDU that this side accepts.
    timeout_s
        Limit for the connection, and for each answer.
    """

    ae_title: Title
    host: Host
    port: Annotated[int, Field(strict=True, ge=1, le=65535)]
    calling_ae: Title | None = None
    tls: bool = False
    authority: Pem | None = None
    associations: Annotated[int, Field(strict=True, ge=1, le=32)] = 2
    mb_per_s: Annotated[float, Field(gt=0, le=10000, allow_inf_nan=False)] | None = None
    window: Window | None = None
    maximum_pdu: Annotated[int, Field(strict=True, ge=4096, le=1048576)] = 131072
    timeout_s: Annotated[int, Field(strict=True, ge=1, le=600)] = 30

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.authority is not None and not self.tls:
            raise ValueError("authority is given without tls; add tls: true, or remove authority")
        return self


class Condition(_Part):
    """What one attribute must be. Of several values of an attribute one is enough.

    Attributes
    ----------
    attribute
        A keyword (``Modality``), a tag (``0008,0060``), a private tag with its creator (``0009,CREATOR,01``),
        ``calling_ae``, ``called_ae`` or ``user``.
    equals, one_of
        The value, or the values.
    matches
        A regular expression for the whole value.
    at_least, at_most
        Limits of a number.
    present
        Whether the attribute has a value.
    """

    attribute: AttributeName
    equals: str | None = None
    one_of: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    matches: Regex | None = None
    at_least: Finite | None = None
    at_most: Finite | None = None
    present: bool | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ranged = self.at_least is not None or self.at_most is not None
        given = [self.equals is not None, self.one_of is not None, self.matches is not None, ranged]
        if sum([*given, self.present is not None]) != 1:
            raise ValueError("give exactly one of equals, one_of, matches, present, or a range by at_least and at_most")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least:g} is more than at_most {self.at_most:g}, so nothing matches")
        return self

    @property
    def wanted(self) -> str:
        """What the condition wants, in words."""
        if self.equals is not None:
            return f"equals {self.equals!r}"
        if self.one_of is not None:
            return f"one of {', '.join(map(repr, self.one_of))}"
        if self.matches is not None:
            return f"matches {self.matches!r}"
        if self.present is not None:
            return "present" if self.present else "absent or empty"
        limits = [
            f"at least {self.at_least:g}" if self.at_least is not None else "",
            f"at most {self.at_most:g}" if self.at_most is not None else "",
        ]
        return " and ".join(limit for limit in limits if limit)


class Change(_Part):
    """A change of one attribute in the copy that leaves. What is stored never changes.

    Attributes
    ----------
    attribute
        A keyword or a tag. UIDs of the image and its pixel data can't be changed.
    replace
        The new value; the attribute is added where it is missing.
    prefix
        Text before each present value.
    remove
        Removes the attribute.
    """

    attribute: ChangedName
    replace: Annotated[str, StringConstraints(max_length=1024)] | None = None
    prefix: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    remove: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if sum([self.replace is not None, self.prefix is not None, self.remove]) != 1:
            raise ValueError("give exactly one of replace, prefix and remove")
        return self


class Rule(_Part):
    """Images that match every condition of `when` and none of `unless` go to all destinations.

    Attributes
    ----------
    name
        For commands and records.
    when, unless
        Conditions. Without any, every image matches.
    during
        Matches only images that were stored in this window, in UTC.
    destinations
        Names of destinations.
    each
        ``instance`` sends every image when it comes, ``series`` and ``study`` when its series or study is complete: no
        image came for the quiet time. Images that come later are sent after the next quiet time.
    priority
        ``urgent`` is sent before ``normal``, and that before ``bulk``.
    delay_s
        Time between storing and sending.
    change
        Changes of the copy that leaves.
    """

    name: Name
    when: tuple[Condition, ...] = ()
    unless: tuple[Condition, ...] = ()
    during: Window | None = None
    destinations: Annotated[tuple[Name, ...], Field(min_length=1)]
    each: Each = "instance"
    priority: Priority = "normal"
    delay_s: Annotated[int, Field(strict=True, ge=0, le=2592000)] = 0
    change: tuple[Change, ...] = ()


class Routing(_Part):
    """The destinations of a site, and the rules.

    Attributes
    ----------
    destinations
        By name.
    rules
        All that match apply. An image goes to a destination once: by the first rule that names it.
    series_quiet_s, study_quiet_s
        Time without an image after which a series or study is complete.
    """

    destinations: Mapping[Name, Destination] = {}
    rules: tuple[Rule, ...] = ()
    series_quiet_s: Quiet = 60
    study_quiet_s: Quiet = 300
