"""The scalar types of the settings: names, AE titles, sizes, networks."""

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, StringConstraints

from hapacs import ae_titles, sop_classes
from hapacs_node.routing.fields import SHAPES as ROUTING_SHAPES

SHAPES: dict[str, str] = dict(ROUTING_SHAPES)
"""What a text must look like, in words, by the pattern that checks it: errors show the words."""

MAXIMUM_BYTES = 1024**6
_EMPTY = "is empty; give a value"
_WIDEST_PREFIX = 8
_SIZE = re.compile(r"[0-9]+([.][0-9]+)? ?([kmgtp]i?)?b?", re.IGNORECASE)
_UNIT = re.compile(r"[a-z]", re.IGNORECASE)


def _shape(pattern: str, words: str) -> StringConstraints:
    SHAPES[pattern] = words
    return StringConstraints(pattern=pattern)


def _ae_title(value: str) -> str:
    if problem := ae_titles.problem(value):
        raise ValueError(problem)
    return value


def _sop_class(value: str) -> str:
    if problem := sop_classes.problem(value):
        raise ValueError(problem)
    return value


def _text(value: object) -> object:
    """Refuse what YAML made of an unquoted text: 10 would become the address 0.0.0.10."""
    if value is None:
        raise ValueError(_EMPTY)
    if isinstance(value, bool | int | float):
        raise ValueError(f"YAML reads {value} as {_yaml_kind(value)}; write it in quotes")  # noqa: TRY004 - pydantic reports ValueError
    return value


def _yaml_kind(value: float) -> str:
    return "yes or no" if isinstance(value, bool) else "a number"


def _size(value: object) -> object:
    """Refuse what pydantic would read in part, such as "16TiB per disk", or as bits."""
    if value is None:
        raise ValueError(_EMPTY)
    if isinstance(value, str):
        text = value.strip()
        if not _SIZE.fullmatch(text) or (_UNIT.search(text) and text[-1].lower() != "b"):
            raise ValueError(
                f"{value!r} is no size; write a number and a unit, such as 500GiB or 16TiB, and nothing else"
            )
        return text
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("write a number and a unit, such as 500GiB or 16TiB")  # noqa: TRY004 - pydantic reports ValueError
    return value


def _dotted(value: object) -> object:
    """Refuse everything but text: `ipaddress` also takes four bytes or a pair for an address or a network."""
    if not isinstance(value, str | ipaddress.IPv4Address | ipaddress.IPv4Network):
        raise ValueError("write an IPv4 address, such as 192.0.2.10")  # noqa: TRY004 - pydantic reports ValueError
    return value


def _network(value: object) -> object:
    """Ask for the mask, and say which network was meant when bits of a host are set."""
    if not isinstance(value, str):
        if isinstance(value, ipaddress.IPv4Network):
            return value
        raise ValueError("write a network with its mask, such as 192.0.2.0/24")
    try:
        loose = ipaddress.IPv4Network(value, strict=False)
    except ValueError:
        raise ValueError(f"{value!r} is no IPv4 network; write one with its mask, such as 192.0.2.0/24") from None
    if "/" not in value:
        raise ValueError(
            f"{value} has no mask; write {value}/32 for this one address, or the network with its mask, "
            "such as 192.0.2.0/24"
        )
    if str(loose.network_address) != value.partition("/")[0]:
        raise ValueError(f"{value} is an address inside the network {loose}; write {loose}")
    return value


def _of_hosts(value: ipaddress.IPv4Network) -> ipaddress.IPv4Network:
    """Refuse half the internet: these networks are what the firewall lets in."""
    if value.prefixlen < _WIDEST_PREFIX:
        raise ValueError(f"{value} lets in more than 16 million addresses; name the networks that need access")
    _host(value.network_address)
    return value


def _host(value: ipaddress.IPv4Address) -> ipaddress.IPv4Address:
    """Refuse addresses that no machine has in a network."""
    if value.is_loopback or value.is_multicast or value.is_unspecified or value.is_reserved:
        raise ValueError(f"{value} is no address that a machine has in a network; give another one")
    return value


DeploymentName = Annotated[
    str,
    BeforeValidator(_text),
    _shape(
        r"^[a-z]([a-z0-9-]{0,22}[a-z0-9])?$",
        "write small letters, digits and hyphens, a letter first and no hyphen last, at most 24",
    ),
]
"""Names directories, stacks and containers."""

GroupWord = Annotated[
    str,
    BeforeValidator(_text),
    _shape(r"^[a-z][a-z0-9_]{0,31}$", "write small letters, digits and underscores, a letter first, at most 32"),
]
"""A site or a zone: part of the name of an Ansible group, so without a hyphen."""

NodeName = Annotated[
    str,
    BeforeValidator(_text),
    _shape(
        r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$",
        "write small letters, digits and hyphens, a letter first and no hyphen last, at most 32",
    ),
]
"""A host name: one label of RFC 1123, lower case."""

UserName = Annotated[
    str,
    BeforeValidator(_text),
    _shape(
        r"^[a-z_][a-z0-9_-]{0,31}$",
        "write small letters, digits, underscores and hyphens, no digit or hyphen first, at most 32",
    ),
]

AeTitle = Annotated[str, BeforeValidator(_text), AfterValidator(_ae_title)]
SopClass = Annotated[str, BeforeValidator(_text), AfterValidator(_sop_class)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Size = Annotated[ByteSize, BeforeValidator(_size), Field(le=MAXIMUM_BYTES)]
Address = Annotated[ipaddress.IPv4Address, BeforeValidator(_dotted), BeforeValidator(_text), AfterValidator(_host)]
Network = Annotated[ipaddress.IPv4Network, BeforeValidator(_network), BeforeValidator(_text), AfterValidator(_of_hosts)]
Networks = Annotated[tuple[Network, ...], Field(min_length=1)]
DiskSerial = Annotated[
    str,
    BeforeValidator(_text),
    _shape(r"^[A-Za-z0-9._:/+-]{1,64}$", "write the number as `lsblk --nodeps --output NAME,SERIAL` prints it"),
]
"""As `lsblk --nodeps --output NAME,SERIAL` prints it; of only digits, in quotes."""

DevicePath = Annotated[
    str,
    BeforeValidator(_text),
    _shape(
        r"^/dev/disk/by-(id|path)/[A-Za-z0-9._:+-]+$",
        "write a name that stays after a reboot, /dev/disk/by-id/... or /dev/disk/by-path/...; "
        "`ls -l /dev/disk/by-id` on the machine lists them",
    ),
]
"""The kernel numbers /dev/sda, /dev/sdb, ... as it finds the disks, so such a name may be another disk's tomorrow."""

Replication = Annotated[
    str,
    BeforeValidator(_text),
    _shape(
        r"^0[0-2][0-2]$",
        'write three digits in quotes, such as "010": always 0, then further copies in other zones (0 to 2), then on '
        "other nodes of the same zone (0 to 2)",
    ),
]
"""SeaweedFS's notation: further copies in other data centres (none here: a site is one), zones, nodes of a zone."""

MaintenanceWindow = Annotated[
    str,
    BeforeValidator(_text),
    _shape(
        r"^(daily|Mon|Tue|Wed|Thu|Fri|Sat|Sun) ([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$",
        "write a day (Mon to Sun, or daily) and two times in UTC, such as Sun 02:00-04:00",
    ),
]

OrthancVersion = Annotated[
    str, BeforeValidator(_text), _shape(r"^[0-9][0-9A-Za-z.+-]{0,31}$", "write a version, such as 1.12.11")
]
"""Names a directory on the nodes."""

HttpUrl = Annotated[
    str,
    BeforeValidator(_text),
    _shape(
        r"^https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/+-]*)?$",
        "write an address that begins with https:// or http://, without a user name, a password or a query",
    ),
]
"""Without a login or a query: it stands in the inventory contract, which holds no secret."""

LoginName = Annotated[
    str, BeforeValidator(_text), _shape(r"^[!-~]{1,128}$", "write the name of the login, in ASCII and without blanks")
]

MailAddress = Annotated[
    str,
    BeforeValidator(_text),
    _shape(
        r"^[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9-]+([.][A-Za-z0-9-]+)*$",
        "write one address without a name, such as pacs@hospital.example",
    ),
]

UpstreamPath = Annotated[
    str,
    BeforeValidator(_text),
    _shape(
        r"^([A-Za-z0-9][A-Za-z0-9._+-]*/)*(Orthanc|lib[A-Za-z0-9]+\.so)$",
        "write a path below base_url that ends in Orthanc or in lib....so",
    ),
]
Sha256 = Annotated[
    str,
    BeforeValidator(_text),
    _shape(r"^[0-9a-f]{64}$", "write the 64 digits (0-9, a-f) that `sha256sum` prints"),
]
