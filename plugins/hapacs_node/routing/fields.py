"""The scalar types of the rules: names, titles, windows, attributes, and in words what each must look like."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from hapacs_node.routing import attributes

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


def _url(url: str) -> str:
    try:
        port = urlsplit(url).port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError(f"{url} has no port between 1 and 65535; correct the number, or leave it out")
    return url


# The system's own: the DAS, and the data of database and archive.
_OWN = ("/srv/das", "/srv/data")


def _folder(path: str) -> str:
    for own in _OWN:
        if path == own or path.startswith(f"{own}/"):
            raise ValueError(f"{path} is in {own}, which keeps the site's own data; give another folder")
    return path


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
Url = Annotated[
    str,
    _shape(
        r"^https?://[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*$",
        "write the root of its DICOMweb services, such as https://pacs.example.org/dicom-web, without a slash last",
    ),
    AfterValidator(_url),
]
Endpoint = Annotated[
    str,
    _shape(
        r"^https://[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?$",
        "write the address of the store, such as https://s3.example.org:9000, with https and without a path",
    ),
    AfterValidator(_url),
]
Bucket = Annotated[
    str,
    _shape(
        r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        "write the name of the bucket: 3 to 63 small letters, digits, dots and hyphens",
    ),
]
Prefix = Annotated[
    str,
    StringConstraints(max_length=512),
    _shape(
        r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$",
        "write the beginning of the keys, such as research/incoming, without a slash first or last",
    ),
]
Region = Annotated[str, _shape(r"^[a-z0-9-]{1,32}$", "write the region's name, such as eu-central-1")]
AccessKey = Annotated[
    str, _shape(r"^[A-Za-z0-9._@+-]{1,128}$", "write the name of the access key; its secret is in credentials")
]
Folder = Annotated[
    str,
    StringConstraints(max_length=512),
    _shape(
        r"^/(srv|mnt|media)(/[A-Za-z0-9_][A-Za-z0-9._-]*)+$",
        "write the path of a folder below /srv, /mnt or /media, such as /mnt/research, without a slash last",
    ),
    AfterValidator(_folder),
]
UserName = Annotated[
    str, _shape(r"^[\x21-\x39\x3b-\x7e]{1,64}$", "write 1 to 64 letters, digits and signs of ASCII, no colon")
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


class Part(BaseModel):
    """A part of the rules. It never changes, and has no keys that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")
