"""Types of the table of services: plain data, so that loading it costs nothing.

`hapacs.services.table` holds the rows; the other modules derive from them what the rest of the project asks for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Group = Literal["etcd", "postgres", "cas", "pacs", "load_balancer", "monitoring"]
"""What a node is for; a node of a compact site is in all groups."""
GROUPS: tuple[Group, ...] = get_args(Group)

Source = Group | Literal["management", "clients", "replicators", "backup_host", "backed_up"]
"""Who may reach a port: all nodes of a group, a network of the site's settings, the site that sends copies, the node
that keeps the backups of this site's database, or the database nodes of other sites whose backups a node keeps."""

Sizing = Literal["dedicated", "shared"]
"""``dedicated``: each node is a machine of its own. ``shared``: all nodes stand on one machine, which also sets their
clock."""

Guard = Literal["tls", "web", "postgres", "ssh", "closed"]
"""What a stranger finds at a port, see `hapacs.verify.port_probe`; ``ssh`` is the way in and not tried."""

Listens = Literal["node", "management", "virtual", "loopback", "everywhere"]
"""Where a service listens: the node's cluster address, its management address, the virtual address of the site,
127.0.0.1, or all addresses."""

Lead = Literal["etcd", "database", "archive", "store", "query", "address"]
"""What a node hands over before a restart: ``store`` and ``query`` are its share of the balancers' choice."""

Authority = Literal["etcd", "postgres", "cas", "pacs", "edge", "monitoring", "replica", "backup"]
"""Which private authority signed the certificate at a port (`hapacs.pki`)."""


@dataclass(frozen=True)
class Port:
    """A TCP port of a node.

    Attributes
    ----------
    name
        Unique within its service; configurations ask for it by this name.
    reached_by
        Whom the firewall lets in. Nobody: the port serves the node itself only.
    authority
        Who signed its certificate; None where it speaks without TLS.
    """

    number: int
    name: str
    guard: Guard
    reached_by: tuple[Source, ...] = ()
    authority: Authority | None = None
    listens: Listens = "node"


@dataclass(frozen=True)
class VirtualPort:
    """A port of the site's virtual address; the settings choose its number.

    Attributes
    ----------
    setting
        Path of the number in the settings of a site, such as ``dicom.tls_port``.
    """

    setting: str
    # The probe calls from nodes that keep images.
    reached_by: tuple[Source, ...] = ("clients", "pacs")


@dataclass(frozen=True)
class Protocol:
    """An IP protocol besides TCP, by its name in nftables."""

    name: str
    reached_by: tuple[Source, ...]


@dataclass(frozen=True)
class Memory:
    """Memory of a service on one node.

    Attributes
    ----------
    needed_mb
        What the node has to have for it.
    limit_mb
        Hard limit that the role sets; None where it sets none.
    """

    needed_mb: int
    limit_mb: int | None = None


@dataclass(frozen=True)
class Restart:
    """How a service takes up a new configuration.

    Attributes
    ----------
    register
        Variable in which the role's task with `service_current` registers its result.
    tasks
        Task file of the role that holds this task.
    hands_over
        What the node has to hand over before.
    """

    register: str
    tasks: Literal["run", "current"] = "run"
    hands_over: tuple[Lead, ...] = ()


@dataclass(frozen=True)
class Secret:
    """A kind of secret (`hapacs.rotation.KINDS`) that a service takes up.

    Attributes
    ----------
    role, tasks
        The part of a role that writes it down; empty: the service's own role.
    together
        Parts with different values refuse each other: they restart on all nodes at once, not in turns.
    client
        It uses the secret, others check it: it gets a new value once these take the former and the new one.
    """

    kind: str
    role: str = ""
    tasks: str = "configure"
    together: bool = False
    client: bool = False


@dataclass(frozen=True)
class Health:
    """How a node is asked whether a service works, beyond whether its unit is active.

    Attributes
    ----------
    command
        Succeeds when it works; ``{address}`` is the node's cluster address.
    port, path
        Or: HTTP on 127.0.0.1 that answers 200.
    tls
        Where the node's certificate lies, without ``.crt`` and ``.key``: then it is HTTPS at the cluster address, and
        the port's authority is ``ca-NAME.crt`` beside it. So a pass also says that the service's certificate is good.
    """

    command: tuple[str, ...] = ()
    port: str = ""
    path: str = ""
    tls: str = ""


@dataclass(frozen=True)
class Metrics:
    """Where a service gives metrics in Prometheus' format, to its own node only.

    Attributes
    ----------
    port
        Name of one of the service's ports. With TLS the reader shows a certificate of the port's authority.
    facts
        Root alone may ask (ADR 29): the facts of the node carry the metrics (ADR 50).
    """

    port: str
    path: str = "/metrics"
    facts: bool = False


@dataclass(frozen=True)
class Service:
    """One systemd unit and everything that other parts have to know of it.

    Attributes
    ----------
    unit
        Its name without ``.service``; other kinds of unit keep their suffix.
    role
        The Ansible role that installs, configures and runs it.
    group
        The nodes that run it; None: all nodes.
    masters
        Only the first nodes of the group run it, an odd number of three at most (`hapacs.services.nodes.masters`).
    pair
        Only the first two nodes of the group run it.
    beside
        Of these nodes only those which are in this group too.
    sizings
        With which sizings nodes run it.
    prepared_by
        Roles without a unit of their own that have to be applied before.
    certificates
        Directories with certificates that it uses; they end, and are renewed.
    restart
        None: it is not restarted as a part of operations.
    secrets
        What it takes up when secrets are rotated.
    """

    unit: str
    role: str
    group: Group | None
    ports: tuple[Port, ...] = ()
    virtual_ports: tuple[VirtualPort, ...] = ()
    protocols: tuple[Protocol, ...] = ()
    masters: bool = False
    pair: bool = False
    beside: Group | None = None
    sizings: tuple[Sizing, ...] = ("dedicated", "shared")
    prepared_by: tuple[str, ...] = ()
    memory: Mapping[Sizing, Memory] = field(default_factory=dict)
    certificates: tuple[str, ...] = ()
    restart: Restart | None = None
    secrets: tuple[Secret, ...] = ()
    health: Health | None = None
    metrics: Metrics | None = None

    def port(self, name: str) -> Port:
        """Return a port by its name.

        Raises
        ------
        KeyError
            When the service has no such port.
        """
        for port in self.ports:
            if port.name == name:
                return port
        raise KeyError(f"{self.unit} has no port {name!r}; it has {', '.join(port.name for port in self.ports)}")
