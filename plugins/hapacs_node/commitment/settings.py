"""The configuration file of the service."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hapacs_node.section import Section, ServiceFile
from hapacs_node.settings import Host

Port = Annotated[int, Field(strict=True, ge=1, le=65535)]


class Address(Section):
    """Where a DICOM application listens."""

    host: Host
    port: Port


class Tls(Section):
    """Files of a certificate, its key, and the authority of the other side, PEM."""

    certificate: Path
    key: Path
    authority: Path


class Member(Section):
    """A node of the archive, and the rack that it is in."""

    name: str
    address: Host
    zone: str


class Caller(BaseModel):
    """A caller of the site, as far as it matters here: its title, and where it listens, if that is known."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    ae_title: str
    host: Host | None = None
    port: Port | None = None


class Archive(Section):
    """The servers behind the gateways of the archive.

    Attributes
    ----------
    members
        Its nodes.
    filer_port, volume_port
        Of the servers on them.
    replication
        SeaweedFS' replication: its digits are the copies in other data centers, in other racks, and on other servers of
        a rack.
    mode
        The retention that an object has to have.
    retention_days
        For how long objects are locked after they are stored; None in the file of an older program.
    token_key
        A file with the key that signs requests for metadata; without it they are not signed (loopback tests).
    tls
        A certificate of the archive's authority; without it connections are not encrypted (loopback tests).
    """

    members: Annotated[tuple[Member, ...], Field(min_length=1)]
    filer_port: Port
    volume_port: Port
    replication: Annotated[str, Field(pattern=r"^[0-9]{3}$")]
    mode: Literal["GOVERNANCE", "COMPLIANCE"]
    retention_days: Annotated[int, Field(strict=True, ge=1)] | None = None
    token_key: Path | None = None
    tls: Tls | None = None

    @property
    def copies(self) -> int:
        """How many whole copies an image has to have."""
        return 1 + sum(map(int, self.replication))

    @property
    def zones(self) -> int:
        """In how many racks they have to be."""
        return 1 + int(self.replication[0]) + int(self.replication[1])

    @property
    def filers(self) -> list[str]:
        """Addresses of the filers."""
        return [f"{member.address}:{self.filer_port}" for member in self.members]

    @property
    def volumes(self) -> dict[str, str]:
        """Addresses of the volume servers by node."""
        return {member.name: f"{member.address}:{self.volume_port}" for member in self.members}

    def zones_of(self, names: Collection[str]) -> set[str]:
        """Return the racks of some nodes."""
        return {member.zone for member in self.members if member.name in names}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.members) < self.copies or len({member.zone for member in self.members}) < self.zones:
            raise ValueError(f"members: too few for the replication {self.replication}")
        return self


class CommitmentSettings(ServiceFile):
    """The configuration of the service on one node.

    Attributes
    ----------
    listen
        Where the balancer reaches it.
    store
        The storing service of this node.
    tls
        Of this node, for both; without it connections are not encrypted (loopback tests).
    callers
        Of the site; those with host and port can ask for storage commitment.
    metrics_port
        Of the metrics, on 127.0.0.1.
    archive
        How copies are read again.
    replicas
        Where the balancer asks for copies of the first site's images; None unless this is a second site.
    """

    listen: Address
    store: Address
    metrics_port: Port
    tls: Tls | None = None
    callers: tuple[Caller, ...] = ()
    archive: Archive
    replicas: Address | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.replicas is not None and self.tls is None:
            raise ValueError("replicas: needs tls")
        return self

    def address(self, title: str) -> Address | None:
        """Return where a caller takes reports; None when that is not known."""
        for one in self.callers:
            if one.ae_title == title and one.host is not None and one.port is not None:
                return Address(host=one.host, port=one.port)
        return None
