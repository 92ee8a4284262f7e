"""The settings of a deployment: one frozen model, read from ``inventories/<deployment>/settings.yaml``."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator, BaseModel, ByteSize, ConfigDict, Field

from hapacs.services.model import Group, Sizing
from hapacs.settings.fields import (
    Address,
    AeTitle,
    DeploymentName,
    DevicePath,
    DiskSerial,
    GroupWord,
    HttpUrl,
    MaintenanceWindow,
    Network,
    Networks,
    NodeName,
    OrthancVersion,
    Port,
    Replication,
    Sha256,
    Size,
    SopClass,
    UpstreamPath,
    UserName,
)
from hapacs.settings.monitoring import Monitoring
from hapacs_node.routing.model import Routing

Operation = Literal["echo", "store", "find", "get", "move", "report"]
Replace = Literal["allow", "same_caller", "never"]
OrthancSource = Literal["backport", "debian", "upstream"]
CharacterSet = Literal[
    "ISO_IR 13", "ISO_IR 100", "ISO_IR 101", "ISO_IR 109", "ISO_IR 110", "ISO_IR 126", "ISO_IR 127", "ISO_IR 138",
    "ISO_IR 144", "ISO_IR 148", "ISO_IR 166", "ISO_IR 192", "ISO_IR 203", "GB18030", "GBK",
]  # fmt: skip
OPERATIONS: tuple[Operation, ...] = get_args(Operation)


class Model(BaseModel):
    """Base of all parts: frozen, and an unknown key is an error instead of a setting that does nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TargetSettings(Model):
    """Settings of a target, and what holds for all its deployments: nothing else compares the kinds of targets.

    Attributes
    ----------
    makes_machines
        Whether `hapacs up` makes machines, disks and networks, and `hapacs down` removes them with all data.
    expendable
        Whether no patient depends on the machines: they may be switched off and get rows that stand for no image.
    sizing
        How much memory the services of a node take, and whether it sets its own clock.
    switches_power
        Whether hapacs can switch the machines off and on; only then drills cut the power of a node.
    """

    makes_machines: ClassVar[bool]
    expendable: ClassVar[bool]
    switches_power: ClassVar[bool]
    sizing: ClassVar[Sizing]


class LabTarget(TargetSettings):
    """Nodes are containers on this machine and disks are loop devices; hapacs makes and removes them."""

    makes_machines = True
    expendable = True
    switches_power = True
    sizing = "shared"

    kind: Literal["lab"]


class StaticTarget(TargetSettings):
    """Machines that exist: Debian 13, reachable by SSH; hapacs neither makes nor removes them.

    Attributes
    ----------
    ssh_user
        May become root without a password (sudo). It is not root itself, because the nodes refuse root by SSH.
    """

    makes_machines = False
    expendable = False
    switches_power = False
    sizing = "dedicated"

    kind: Literal["static"]
    ssh_user: UserName = "hapacs"
    ssh_port: Port = 22


class Node(Model):
    """One machine.

    Attributes
    ----------
    zone
        Nodes that fail together, such as those in one rack or room. The CAS keeps its copies in different zones.
    address
        The node's address in the site's cluster network; databases, CAS and DICOM between nodes use it.
    management_address
        The node's address for Ansible and the statistics page, outside the cluster network. Not given: `address`.
    das_devices
        The disks of a machine that exists (target ``static``), as ``/dev/disk/by-id/...`` or ``/dev/disk/by-path/...``.
    wipe_serials
        Serial numbers of disks in `das_devices` that may hold data: they are emptied when the DAS is made. The disks of
        a DAS that exists are never emptied. Remove the numbers once the site is up.
    """

    zone: GroupWord
    address: Address
    management_address: Address | None = None
    das_devices: tuple[DevicePath, ...] = ()
    wipe_serials: tuple[DiskSerial, ...] = ()


class DasDisks(Model):
    """The disks of each node's DAS; btrfs raid1 keeps two copies, hence at least two disks."""

    count: Annotated[int, Field(strict=True, ge=2, le=24)] = 2
    size_bytes: Annotated[Size, Field(ge=512 * 1024**2)]

    @property
    def usable_bytes(self) -> int:
        """The capacity, with two copies of everything."""
        return self.count * int(self.size_bytes) // 2


class Disks(Model):
    """The disks of each node of a site."""

    das: DasDisks


class SiteNetworks(Model):
    """The networks of a site, and those that may reach it; the firewall drops everything else.

    Attributes
    ----------
    cluster
        The nodes' own network, which also holds the virtual address.
    gateway
        The router's address in `cluster`. A target that makes the network needs it.
    management
        Networks that may reach SSH, the statistics page and the administrative ports.
    clients
        Networks that may reach the virtual address.
    controller
        The controller's address as this site sees it. Not given: `verify.host`. A controller with several networks may
        reach each site from another address.
    """

    cluster: Network
    gateway: Address | None = None
    management: Networks
    clients: Networks
    controller: Address | None = None


class VirtualAddress(Model):
    """The virtual address, which moves to another balancer when one fails (VRRP, RFC 5798)."""

    address: Address
    router_id: Annotated[int, Field(strict=True, ge=1, le=255)]


class Dicom(Model):
    """The site's AE titles and ports; both titles answer at the virtual address."""

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
        The file's digest; a file with another one is not installed.
    """

    path: UpstreamPath
    sha256: Sha256


def _orthanc_once(files: tuple[UpstreamFile, ...]) -> tuple[UpstreamFile, ...]:
    """Refuse two files of one name, and plugins without the program that they belong to."""
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
        The version that the program reports.
    base_url
        The address from which the controller downloads the files.
    """

    version: OrthancVersion
    base_url: HttpUrl
    files: Annotated[tuple[UpstreamFile, ...], AfterValidator(_orthanc_once)]


class Integrity(Model):
    """How often each node checks, by itself, that images are whole and that all places agree.

    Attributes
    ----------
    scrub
        Whether online and archive copies are read again.
    scrub_gb_per_day, scrub_mb_per_s
        How much a node reads in a day, in gigabytes, and how fast, in megabytes a second.
    scrub_days
        A copy that was read within so many days is not read again.
    reconcile
        Whether index, catalog, archive and online copies are compared each night. Nothing is changed then.
    reconcile_hour
        The comparison starts at a random time within three hours after this hour, in the time zone of the nodes.
    """

    scrub: Annotated[bool, Field(strict=True)] = True
    scrub_gb_per_day: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 100
    scrub_mb_per_s: Annotated[int, Field(strict=True, ge=1, le=2000)] = 20
    scrub_days: Annotated[int, Field(strict=True, ge=1, le=365)] = 30
    reconcile: Annotated[bool, Field(strict=True)] = True
    reconcile_hour: Annotated[int, Field(strict=True, ge=0, le=23)] = 1


class Admission(Model):
    """When callers that yield are refused: near the end of the DAS, while the archive takes no writes, or by age.

    Attributes
    ----------
    yielding_users
        Users of DICOMweb whose images are refused first, as those of callers with `yields`.
    backlog_hours
        They are refused while an image waits longer than that for a destination that is not held.
    """

    yielding_users: tuple[UserName, ...] = ()
    backlog_hours: Annotated[int, Field(strict=True, ge=1, le=8760)] = 24


class Policy(Model):
    """How full a DAS may be, how many copies the archive keeps, for how long, and how often all is checked.

    Attributes
    ----------
    das_watermark_fraction
        Usage of a node's DAS above which the node stores no more images.
    das_minimum_free_bytes
        Free space below which the node stores no more images, at any usage.
    das_evict_above_fraction, das_evict_to_fraction
        Usage at which eviction starts, and at which it ends. Only copies that the archive has confirmed are evicted,
        the least recently used first. Both are below the watermark: eviction starts before images are refused.
    das_minimum_age_hours
        Images that were stored or read within so many hours are not evicted, even if new images are refused.
    cas_replication
        Further copies in SeaweedFS's notation, in quotes: always 0, then the number in other zones, then the number on
        other nodes of the same zone.
    retention_mode, retention_days
        Lock of an archived image (S3 Object Lock).
    tolerated_node_failures
        Number of nodes that the primary site may lose without an interruption or the loss of an image. 0 permits a site
        of a single node, for trials: losing that node loses images.
    orthanc_source
        Where Orthanc comes from: Debian's packages with the changes of this project, Debian's as they are, or its
        authors' files (``orthanc_upstream``). Not given: the authors' files if they are listed, else ``backport``.
    orthanc_upstream
        The files of Orthanc's authors, for the source ``upstream``.
    replace
        Which caller may replace a stored image by one with the same UIDs and other bytes: any, the one that stored it,
        or none. An image with equal bytes is accepted from any.
    undeclared_character_set
        Character set (DICOM PS3.3 C.12.1.1.2) in which files that declare none are read. After a change, ``hapacs
        reindex`` reads them again.
    accepted_sop_classes
        SOP classes that are taken besides all storage classes that Orthanc knows: private and new ones.
    integrity
        Checks that each node runs by itself.
    admission
        When callers that yield are refused.
    """

    das_watermark_fraction: Annotated[float, Field(gt=0, le=0.98)] = 0.9
    das_minimum_free_bytes: Annotated[Size, Field(ge=64 * 1024**2)] = ByteSize(10 * 1024**3)
    das_evict_above_fraction: Annotated[float, Field(gt=0, le=0.98)] = 0.85
    das_evict_to_fraction: Annotated[float, Field(gt=0, le=0.98)] = 0.8
    das_minimum_age_hours: Annotated[int, Field(strict=True, ge=1, le=8760)] = 24
    cas_replication: Replication = "010"
    retention_mode: Literal["GOVERNANCE", "COMPLIANCE"] = "COMPLIANCE"
    retention_days: Annotated[int, Field(strict=True, ge=1, le=36500)] = 3650
    tolerated_node_failures: Annotated[int, Field(strict=True, ge=0, le=1)] = 1
    orthanc_source: OrthancSource | None = None
    orthanc_upstream: OrthancUpstream | None = None
    replace: Replace = "allow"
    undeclared_character_set: CharacterSet = "ISO_IR 100"
    accepted_sop_classes: tuple[SopClass, ...] = ()
    integrity: Integrity = Integrity()
    admission: Admission = Admission()

    @property
    def orthanc(self) -> OrthancSource:
        """The source of Orthanc that is in effect."""
        return self.orthanc_source or ("upstream" if self.orthanc_upstream else "backport")


class Site(Model):
    """One place with its own index and its own archive.

    Attributes
    ----------
    pools
        The nodes of each group. Not given: a compact site, where every node serves all groups.
    routing
        Destinations and rules for images that leave. Not given: none leave, unless a C-MOVE or a C-GET wants them.
    monitoring
        How long numbers are kept, and who gets which alert.
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
    routing: Routing = Routing()
    monitoring: Monitoring = Monitoring()

    def members(self, group: Group) -> tuple[str, ...]:
        """Return the names of a group's nodes; in a compact site, of all nodes."""
        if self.pools is None:
            return tuple(self.nodes)
        return self.pools.get(group, ())

    @property
    def survives_a_node(self) -> bool:
        """Whether the site must keep working when one of its nodes fails."""
        return self.role == "primary" and self.policy.tolerated_node_failures > 0

    @property
    def das_minimum_free_bytes(self) -> int:
        """Free space that each DAS must keep: the larger of the policy's share and its number of bytes."""
        share = round((1 - self.policy.das_watermark_fraction) * self.disks.das.usable_bytes)
        return max(share, int(self.policy.das_minimum_free_bytes))

    @property
    def das_evict_below_bytes(self) -> int:
        """Free space on each DAS below which eviction starts."""
        return round((1 - self.policy.das_evict_above_fraction) * self.disks.das.usable_bytes)

    @property
    def das_evict_until_bytes(self) -> int:
        """Free space on each DAS at which eviction ends."""
        return round((1 - self.policy.das_evict_to_fraction) * self.disks.das.usable_bytes)

    def management_address(self, node: str) -> Address:
        """Return the address at which a node is managed."""
        return self.nodes[node].management_address or self.nodes[node].address


class Caller(Model):
    """An application that may open associations: from which networks, and for which operations.

    Attributes
    ----------
    may
        Its operations. ``report`` lets a destination with ``confirm: commitment`` bring its reports; a caller that may
        store may also report.
    host, port
        Address and port at which the caller itself listens, so that a C-MOVE can have it as destination, and
        that it gets its reports of storage commitment.
    max_associations
        Concurrent associations of the caller, over the whole site.
    max_mb_per_minute
        Megabytes that it may send in a minute. Above, its next associations are refused. Not given: no limit.
    yields
        Whether its images are refused first, while room or time is short, see `Admission`. For an import or another
        application that can wait; a modality can't.
    """

    ae_title: AeTitle
    networks: Networks
    may: Annotated[tuple[Operation, ...], Field(min_length=1)]
    host: Address | None = None
    port: Port | None = None
    max_associations: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None
    # The balancer counts with 32 bits.
    max_mb_per_minute: Annotated[int, Field(strict=True, ge=1, le=4000)] | None = None
    yields: Annotated[bool, Field(strict=True)] = False


class VerifyCaller(Model):
    """The AE title of ``hapacs verify``, and the address at which it receives its own C-MOVE.

    Attributes
    ----------
    host
        The controller's address. A site that sees another one has it in `networks.controller`.
    """

    ae_title: AeTitle = "HAPACS_VERIFY"
    host: Address
    port: Port = 11190


class Drills(Model):
    """When drills may run on a site that patients depend on.

    Attributes
    ----------
    window
        Maintenance window in UTC, such as ``Sun 02:00-04:00`` or ``daily 22:00-04:00``. Without one no drill runs
        there. A lab needs none.
    """

    window: MaintenanceWindow | None = None


class Settings(Model):
    """A whole deployment.

    Attributes
    ----------
    callers
        They are the same at every site, because a promoted second site serves the same modalities.
    """

    deployment: DeploymentName
    target: Annotated[LabTarget | StaticTarget, Field(discriminator="kind")]
    sites: Annotated[Mapping[GroupWord, Site], Field(min_length=1)]
    callers: tuple[Caller, ...] = ()
    verify: VerifyCaller
    drills: Drills = Drills()

    def controller(self, site: Site) -> Address:
        """Return the address from which `hapacs verify` calls a site, and at which it is called back."""
        return site.networks.controller or self.verify.host
