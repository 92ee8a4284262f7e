"""The scalar types of the settings: names, AE titles, networks."""

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

_AE_TITLE_MAXIMUM = 16


def _ae_title(value: str) -> str:
    """Refuse what is no AE title.

    Source: DICOM PS3.5 section 6.2, value representation AE. Leading and trailing spaces don't count there, so
    two titles that differ in them are one title; we refuse them instead of comparing them in special ways.
    """
    if not value.strip(" "):
        raise ValueError("an AE title can't be empty or only spaces; give 1 to 16 characters")
    if len(value) > _AE_TITLE_MAXIMUM:
        raise ValueError(f"an AE title has at most {_AE_TITLE_MAXIMUM} characters; this one has {len(value)}")
    if re.search(r"[^\x20-\x7e]|\\", value):
        raise ValueError("an AE title holds printable ASCII without the backslash; remove the other characters")
    if value != value.strip(" "):
        raise ValueError("an AE title has no leading or trailing space here; remove it")
    return value


def _text(value: object) -> object:
    """Refuse a number: YAML reads some unquoted texts as one, and 10 would become the address 0.0.0.10."""
    if isinstance(value, int | float):
        raise ValueError(f"YAML reads this as the number {value}; write it as text, in quotes where needed")  # noqa: TRY004 - pydantic reports ValueError
    return value


def _network(value: object) -> object:
    """Say which network was meant when host bits are set."""
    if isinstance(value, str) and "/" in value:
        try:
            loose = ipaddress.IPv4Network(value, strict=False)
        except ValueError:
            return value
        if str(loose.network_address) != value.partition("/")[0]:
            raise ValueError(f"{value} has host bits set; write {loose}")
    return value


def _not_everything(value: ipaddress.IPv4Network) -> ipaddress.IPv4Network:
    """Refuse the whole internet: these networks are what the firewall lets in."""
    if value.prefixlen == 0:
        raise ValueError("0.0.0.0/0 lets everybody in; name the networks that need access")
    return value


DeploymentName = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,22}[a-z0-9])?$")]
"""Names directories, stacks and containers."""

GroupWord = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
"""A site or a zone: part of the name of an Ansible group, so without a hyphen."""

NodeName = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$")]
"""A host name: one label of RFC 1123, lower case."""

AeTitle = Annotated[str, AfterValidator(_ae_title)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Address = Annotated[ipaddress.IPv4Address, BeforeValidator(_text)]
Network = Annotated[
    ipaddress.IPv4Network, BeforeValidator(_network), BeforeValidator(_text), AfterValidator(_not_everything)
]
Networks = Annotated[tuple[Network, ...], Field(min_length=1)]
DiskSerial = Annotated[str, BeforeValidator(_text), StringConstraints(pattern=r"^[A-Za-z0-9._:/+-]{1,64}$")]
"""As `lsblk --nodeps --output NAME,SERIAL` prints it; of only digits, in quotes."""

DevicePath = Annotated[str, StringConstraints(pattern=r"^/dev/[A-Za-z0-9._:/+-]+$")]

Replication = Annotated[str, BeforeValidator(_text), StringConstraints(pattern=r"^0[0-2][0-2]$")]
"""SeaweedFS's notation: further copies in other data centres (none here: a site is one), zones, nodes of a zone."""

OrthancVersion = Annotated[str, BeforeValidator(_text), StringConstraints(pattern=r"^[0-9][0-9A-Za-z.+-]{0,31}$")]
"""Names a directory on the nodes."""

HttpUrl = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/+-]*)?$")]
"""Without a login or a query: it stands in the inventory contract, which holds no secret."""

UpstreamPath = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._+-]*/)*(Orthanc|lib[A-Za-z0-9]+\.so)$")
]
Sha256 = Annotated[str, BeforeValidator(_text), StringConstraints(pattern=r"^[0-9a-f]{64}$")]
