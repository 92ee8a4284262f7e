"""The settings of a deployment: one frozen model, read from ``inventories/<deployment>/settings.yaml``."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from hapacs.services.model import Group, Sizing
from hapacs.settings.base import Model
from hapacs.settings.fields import (
    Address,
    AeTitle,
    DeploymentName,
    DevicePath,
    DiskSerial,
    GroupWord,
    MaintenanceWindow,
    Network,
    Networks,
    NodeName,
    Port,
    Size,
    UserName,
)
from hapacs.settings.monitoring import Monitoring
from hapacs.settings.policy import Policy
from hapacs.settings.worklist import Worklist
from hapacs_node.routing.model import Routing

Operation = Literal["echo", "store", "find", "get", "move", "report", "worklist"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)


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


class Backup(Model):
    """Where backups of the database (index, catalog and the archive's metadata) go, and how many are kept.

    Attributes
    ----------
    host
        Node of another site that keeps them; one of its database nodes.
    hour
        The day's backup starts within ten minutes after this hour, UTC: a full one every seventh day, else a
        differential one. WAL goes there continuously.
    keep_full
        Full backups that are kept, with everything that is needed to restore to any time since the oldest.
    """

    host: NodeName
    hour: Annotated[int, Field(strict=True, ge=0, le=23)] = 2
    keep_full: Annotated[int, Field(strict=True, ge=1, le=520)] = 5


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
    worklist
        The modality worklist. Not given: there is none.
    backup
        Where backups of the database go. Not given: there are none.
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
    worklist: Worklist | None = None
    backup: Backup | None = None

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
        store may also report. ``worklist`` lets a modality ask for scheduled procedure steps.
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
