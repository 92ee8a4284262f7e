"""What a deployment is: one frozen model, read from ``inventories/<deployment>/settings.yaml``."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator, BaseModel, ByteSize, ConfigDict, Field, StringConstraints

from hapacs.settings.fields import (
    Address,
    AeTitle,
    DeploymentName,
    DevicePath,
    DiskSerial,
    GroupWord,
    HttpUrl,
    Network,
    Networks,
    NodeName,
    OrthancVersion,
    Port,
    Replication,
    Sha256,
    UpstreamPath,
)

Group = Literal["etcd", "postgres", "cas", "pacs", "load_balancer", "monitoring"]
GROUPS: tuple[Group, ...] = get_args(Group)

Operation = Literal["echo", "store", "find", "get", "move"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)


class Model(BaseModel):
    """Base of all parts: frozen, and an unknown key is an error instead of a setting that does nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Sizing = Literal["dedicated", "shared"]
"""How much memory services take: ``shared`` where all nodes stand on one machine, which also sets their clock."""


class TargetSettings(Model):
    """Settings of a target, and what holds for all its deployments: nothing else compares the kinds of targets.

    Attributes
    ----------
    makes_machines
        Whether `hapacs up` makes machines, disks and networks, and `hapacs down` removes them with all data.
    expendable
        Whether no patient depends on the machines: they may be switched off and get rows that stand for no image.
    """

    makes_machines: ClassVar[bool]
    expendable: ClassVar[bool]
    sizing: ClassVar[Sizing]


class LabTarget(TargetSettings):
    """Nodes are containers on this machine, disks are loop devices."""

    makes_machines = True
    expendable = True
    sizing = "shared"

    kind: Literal["lab"]


class StaticTarget(TargetSettings):
    """Machines that exist: Debian 13, reachable by SSH; we neither make nor remove them.

    Attributes
    ----------
    ssh_user
        May become root without a password (sudo). Not root itself, whom the nodes don't let in by SSH.
    """

    makes_machines = False
    expendable = False
    sizing = "dedicated"

    kind: Literal["static"]
    ssh_user: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = "hapacs"
    ssh_port: Port = 22


class Node(Model):
    """One machine.

    Attributes
    ----------
    zone
        What fails together: a rack, a room. The CAS keeps its copies in different zones.
    address
        In the site's cluster network; databases, CAS and DICOM between nodes use it.
    management_address
        Where Ansible and the statistics page are reached; the same as `address` unless given.
    das_devices
        The disks of a machine that exists (target ``static``), best as ``/dev/disk/by-id/...``.
    wipe_serials
        Serial numbers of those of them that may hold data and will be emptied when the DAS is made. Nothing of a DAS
        that is there is ever emptied. Remove them once the site is up.
    """

    zone: GroupWord
    address: Address
    management_address: Address | None = None
    das_devices: tuple[DevicePath, ...] = ()
    wipe_serials: tuple[DiskSerial, ...] = ()


class DasDisks(Model):
    """The disks of each node's online store; btrfs raid1 keeps two copies, hence at least two disks."""

    count: Annotated[int, Field(strict=True, ge=2, le=24)] = 2
    size_bytes: Annotated[ByteSize, Field(ge=512 * 1024**2)]

    @property
    def usable_bytes(self) -> int:
        """What fits when everything is kept twice."""
        return self.count * int(self.size_bytes) // 2


class Disks(Model):
    """The disks of each node of a site."""

    das: DasDisks


class SiteNetworks(Model):
    """Where the nodes stand and who may reach them; the firewall lets in nobody else.

    Attributes
    ----------
    cluster
        The nodes' own network, which also holds the virtual address.
    gateway
        The router in `cluster`; needed by targets that make the network.
    management
        May reach SSH, the statistics page and the administrative ports.
    clients
        May reach the virtual address.
    controller
        How the site sees the controller, where that is another address than `verify.host`: of a machine with several
        networks, the one that it reaches this site from.
    """

    cluster: Network
    gateway: Address | None = None
    management: Networks
    clients: Networks
    controller: Address | None = None


class VirtualAddress(Model):
    """The address that moves (VRRP, RFC 5798)."""

    address: Address
    router_id: Annotated[int, Field(strict=True, ge=1, le=255)]


class Dicom(Model):
    """How the site is called in DICOM; both titles answer at the virtual address."""

    store_ae: AeTitle
    query_ae: AeTitle
    port: Port = 11112
    tls_port: Port = 2762


class UpstreamFile(Model):
    """A file of Orthanc's authors.

    Attributes
    ----------
    path
        Below the base URL; its last part is ``Orthanc`` or the name of a plugin.
    sha256
        What the file must have, or it is not installed.
    """

    path: UpstreamPath
    sha256: Sha256


def _orthanc_once(files: tuple[UpstreamFile, ...]) -> tuple[UpstreamFile, ...]:
    """Refuse what would replace one file by another, or leave Debian's program with another one's plugins."""
    names = [file.path.rpartition("/")[2] for file in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(twice)} is listed more than once; keep one")
    if "Orthanc" not in names:
        raise ValueError("the program itself is missing; list a path that ends in Orthanc")
    return files


class OrthancUpstream(Model):
    """Orthanc from its authors instead of Debian's package; plugins that are not listed stay Debian's.

    Attributes
    ----------
    version
        What the program says of itself.
    base_url
        Where the controller fetches the files.
    """

    version: OrthancVersion
    base_url: HttpUrl
    files: Annotated[tuple[UpstreamFile, ...], AfterValidator(_orthanc_once)]


class Policy(Model):
    """What is kept, how often and how long.

    Attributes
    ----------
    das_watermark_fraction
        Used share of a node's DAS above which the node takes no more images.
    das_minimum_free_bytes
        Free space below which the node takes no more images, whatever the fraction says.
    das_evict_above_fraction, das_evict_to_fraction
        Used share above which online copies go that the archive holds, least recently used first, and at which that
        ends. Both below the watermark: room is made before images are refused.
    das_minimum_age_hours
        What was stored or read within so many hours stays online, even if images are refused then.
    cas_replication
        Further copies in SeaweedFS's notation, in quotes: always 0, in other zones, on other nodes of the same zone.
    retention_mode, retention_days
        Default lock of an archived object (S3 Object Lock).
    tolerated_node_failures
        How many nodes of the primary site may be lost while it goes on and keeps every image. 0 permits a site of a
        single node, to try things on: losing that node loses images.
    orthanc_upstream
        Which Orthanc runs. Not given: Debian's.
    """

    das_watermark_fraction: Annotated[float, Field(gt=0, le=0.98)] = 0.9
    das_minimum_free_bytes: Annotated[ByteSize, Field(ge=64 * 1024**2)] = ByteSize(10 * 1024**3)
    das_evict_above_fraction: Annotated[float, Field(gt=0, le=0.98)] = 0.85
    das_evict_to_fraction: Annotated[float, Field(gt=0, le=0.98)] = 0.8
    das_minimum_age_hours: Annotated[int, Field(strict=True, ge=1, le=8760)] = 24
    cas_replication: Replication = "010"
    retention_mode: Literal["GOVERNANCE", "COMPLIANCE"] = "COMPLIANCE"
    retention_days: Annotated[int, Field(strict=True, ge=1, le=36500)] = 3650
    tolerated_node_failures: Annotated[int, Field(strict=True, ge=0, le=1)] = 1
    orthanc_upstream: OrthancUpstream | None = None


class Site(Model):
    """One place with its own index and its own archive.

    Attributes
    ----------
    pools
        Which nodes serve which group. Not given: a compact site, where every node serves all of them.
    """

    role: Literal["primary", "dr"]
    nodes: Annotated[Mapping[NodeName, Node], Field(min_length=1)]
    pools: Mapping[Group, tuple[NodeName, ...]] | None = None
    disks: Disks
    networks: SiteNetworks
    vip: VirtualAddress
    dicom: Dicom
    https_port: Port = 443
    policy: Policy = Policy()

    def members(self, group: Group) -> tuple[str, ...]:
        """Return the names of a group's nodes: all of them in a compact site."""
        if self.pools is None:
            return tuple(self.nodes)
        return self.pools.get(group, ())

    @property
    def survives_a_node(self) -> bool:
        """Whether the site has to go on when one of its nodes dies."""
        return self.role == "primary" and self.policy.tolerated_node_failures > 0

    @property
    def das_minimum_free_bytes(self) -> int:
        """What must stay free on each node's DAS: the larger of the policy's share and its number of bytes."""
        share = round((1 - self.policy.das_watermark_fraction) * self.disks.das.usable_bytes)
        return max(share, int(self.policy.das_minimum_free_bytes))

    @property
    def das_evict_below_bytes(self) -> int:
        """Free space on each node's DAS below which online copies go."""
        return round((1 - self.policy.das_evict_above_fraction) * self.disks.das.usable_bytes)

    @property
    def das_evict_until_bytes(self) -> int:
        """Free space at which that ends."""
        return round((1 - self.policy.das_evict_to_fraction) * self.disks.das.usable_bytes)

    def management_address(self, node: str) -> Address:
        """Return where a node is managed."""
        return self.nodes[node].management_address or self.nodes[node].address


class Caller(Model):
    """Who may open an association, from where, and for what.

    Attributes
    ----------
    host, port
        Where the caller itself listens: the destination of its C-MOVE.
    max_associations
        At once, over the whole site.
    """

    ae_title: AeTitle
    networks: Networks
    may: Annotated[tuple[Operation, ...], Field(min_length=1)]
    host: Address | None = None
    port: Port | None = None
    max_associations: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None


class VerifyCaller(Model):
    """Under which title ``hapacs verify`` calls, and where the controller listens for its own C-MOVE.

    Attributes
    ----------
    host
        The controller's address; a site that sees it with another one says so in `networks.controller`.
    """

    ae_title: AeTitle = "HAPACS_VERIFY"
    host: Address
    port: Port = 11190


class Settings(Model):
    """A whole deployment.

    Attributes
    ----------
    callers
        The same at every site: a promoted second site serves the same modalities.
    """

    deployment: DeploymentName
    target: Annotated[LabTarget | StaticTarget, Field(discriminator="kind")]
    sites: Annotated[Mapping[GroupWord, Site], Field(min_length=1)]
    callers: tuple[Caller, ...] = ()
    verify: VerifyCaller

    def controller(self, site: Site) -> Address:
        """Return the address with which `hapacs verify` calls a site and is called back."""
        return site.networks.controller or self.verify.host
