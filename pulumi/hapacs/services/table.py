"""All services of a node, each declared once, in the order in which a site starts and restarts them.

Firewall, the ports that `hapacs verify` tries, memory, restarts, rotation of secrets, `hapacs status` and the list of
what is scraped are derived from these rows (docs/adr/0019).
"""

from hapacs.services.model import (
    Health,
    Memory,
    Metrics,
    Port,
    Protocol,
    Restart,
    Secret,
    Service,
    Sizing,
    VirtualPort,
)


def _memory(dedicated: Memory, shared: Memory) -> dict[Sizing, Memory]:
    return {"dedicated": dedicated, "shared": shared}


_SYSTEM = (
    # Role base lets the management networks in, whatever the table says, so that a wrong row locks nobody out.
    Service("ssh", role="base", group=None, ports=(Port(22, "ssh", "ssh", listens="everywhere"),)),
    Service("nftables", role="base", group=None),
    Service("systemd-journald", role="base", group=None),
    # Containers of one machine leave the clock to it.
    Service("chrony", role="base", group=None, sizings=("dedicated",)),
)

# Each gives its metrics at 127.0.0.1; the web server `exporters` alone answers others, with TLS on both sides (ADR 49).
_EXPORTERS = (
    Service(
        "prometheus-node-exporter",
        role="exporters",
        group=None,
        ports=(Port(9100, "metrics", "closed", listens="loopback"),),
        memory=_memory(dedicated=Memory(64, 128), shared=Memory(24, 96)),
        restart=Restart("__exporters_node_current"),
        metrics=Metrics("metrics"),
    ),
    Service(
        "prometheus-postgres-exporter",
        role="exporters",
        group="postgres",
        ports=(Port(9187, "metrics", "closed", listens="loopback"),),
        memory=_memory(dedicated=Memory(64, 128), shared=Memory(24, 96)),
        restart=Restart("__exporters_postgres_current"),
        metrics=Metrics("metrics"),
    ),
    Service("hapacs-facts.timer", role="exporters", group=None),
    Service(
        "exporters",
        role="exporters",
        group=None,
        ports=(Port(9190, "metrics", "tls", reached_by=("monitoring", "management"), authority="monitoring"),),
        memory=_memory(dedicated=Memory(32, 128), shared=Memory(16, 64)),
        certificates=("/etc/exporters/tls",),
        restart=Restart("__exporters_current"),
    ),
)

_DATABASE = (
    Service(
        "etcd",
        role="etcd",
        group="etcd",
        ports=(
            Port(2379, "client", "tls", reached_by=("etcd", "postgres"), authority="etcd"),
            Port(2380, "peer", "tls", reached_by=("etcd",), authority="etcd"),
            # A certificate of etcd's authority could write, so metrics have a port that can't.
            Port(2381, "metrics", "closed", listens="loopback"),
        ),
        memory=_memory(dedicated=Memory(512), shared=Memory(128)),
        certificates=("/etc/etcd/tls",),
        restart=Restart("__etcd_current", tasks="current", hands_over=("etcd",)),
        metrics=Metrics("metrics"),
    ),
    # Where an address is translated between sites, as in the lab, the other site comes from a network of management.
    # Reads the data directory for the node that keeps the backups (ADR 73). Without backups it admits nobody.
    Service(
        "pgbackrest-database",
        role="pgbackrest",
        group="postgres",
        ports=(Port(8432, "backup", "tls", reached_by=("backup_host", "management"), authority="backup"),),
        memory=_memory(dedicated=Memory(64, 512), shared=Memory(16, 256)),
        certificates=("/etc/pgbackrest/database",),
        restart=Restart("__pgbackrest_database_current"),
    ),
    # Takes WAL from the database nodes of other sites, and gives it back; it can't change a backup.
    Service(
        "pgbackrest-repository",
        role="pgbackrest",
        group="postgres",
        ports=(Port(8433, "archive", "tls", reached_by=("backed_up", "management"), authority="backup"),),
        memory=_memory(dedicated=Memory(64, 512), shared=Memory(16, 256)),
        certificates=("/etc/pgbackrest/repository",),
        restart=Restart("__pgbackrest_repository_current"),
    ),
    Service("pgbackrest-seal.timer", role="pgbackrest", group="postgres"),
    Service("pgbackrest-backup.timer", role="pgbackrest", group="postgres"),
    Service("pgbackrest-rehearse.timer", role="pgbackrest", group="postgres"),
    Service("pgbackrest-position.timer", role="pgbackrest", group="postgres"),
    Service(
        "patroni",
        role="postgres",
        group="postgres",
        ports=(
            Port(5432, "database", "postgres", reached_by=("postgres", "pacs", "cas"), authority="postgres"),
            Port(8008, "rest", "tls", reached_by=("postgres",), authority="postgres"),
        ),
        # PostgreSQL's shared buffers alone are 4 GiB, 128 MiB where nodes share a machine.
        memory=_memory(dedicated=Memory(5120), shared=Memory(512)),
        certificates=("/etc/patroni/tls",),
        restart=Restart("__postgres_current", tasks="current", hands_over=("database",)),
        secrets=(Secret("database"), Secret("patroni")),
        metrics=Metrics("rest"),
    ),
    Service("postgres-apart.timer", role="postgres", group="postgres"),
    # Restarts a database or Patroni that hangs, and hands the lead over when the disk is full (ADR 25).
    Service("postgres-fence", role="postgres", group="postgres"),
    Service("postgres-room", role="postgres", group="postgres"),
)

_TOKENS = Secret("archive-tokens", together=True)

_ARCHIVE = (
    # The master's HTTP port would show its pages in the clear; its gRPC port does all the work.
    Service(
        "seaweedfs-master",
        role="seaweedfs",
        group="cas",
        masters=True,
        ports=(
            Port(9333, "http", "closed"),
            Port(19333, "grpc", "tls", reached_by=("cas",), authority="cas"),
            Port(9324, "metrics", "closed", listens="loopback"),
        ),
        memory=_memory(dedicated=Memory(128, 512), shared=Memory(64, 160)),
        certificates=("/etc/seaweedfs/tls",),
        restart=Restart("__seaweedfs_current", tasks="current", hands_over=("archive",)),
        secrets=(_TOKENS,),
        # It answers gRPC only, to the archive's own shell.
        health=Health(command=("/opt/hapacs/seaweedfs/bin/seaweedfs-check", "master", "{address}")),
        metrics=Metrics("metrics"),
    ),
    Service(
        "seaweedfs-volume",
        role="seaweedfs",
        group="cas",
        ports=(
            # Storage commitment reads the copies of each server.
            Port(8080, "http", "tls", reached_by=("cas", "pacs"), authority="cas"),
            Port(18080, "grpc", "tls", reached_by=("cas",), authority="cas"),
            Port(9325, "metrics", "closed", listens="loopback"),
        ),
        memory=_memory(dedicated=Memory(1024, 4096), shared=Memory(128, 256)),
        certificates=("/etc/seaweedfs/tls",),
        restart=Restart("__seaweedfs_current", tasks="current"),
        secrets=(_TOKENS,),
        health=Health(port="http", path="/healthz", tls="/etc/seaweedfs/tls/node"),
        metrics=Metrics("metrics"),
    ),
    Service(
        "seaweedfs-filer",
        role="seaweedfs",
        group="cas",
        ports=(
            Port(8888, "http", "tls", reached_by=("cas", "pacs"), authority="cas"),
            Port(18888, "grpc", "tls", reached_by=("cas",), authority="cas"),
            Port(9326, "metrics", "closed", listens="loopback"),
        ),
        memory=_memory(dedicated=Memory(384, 1024), shared=Memory(128, 256)),
        certificates=("/etc/seaweedfs/tls",),
        restart=Restart("__seaweedfs_current", tasks="current"),
        secrets=(Secret("cas"), _TOKENS),
        health=Health(port="http", path="/healthz", tls="/etc/seaweedfs/tls/node"),
        metrics=Metrics("metrics"),
    ),
    Service(
        "seaweedfs-s3",
        role="seaweedfs",
        group="cas",
        ports=(
            Port(8333, "s3", "web", reached_by=("cas", "pacs", "management"), authority="cas"),
            Port(18333, "grpc", "tls", authority="cas"),
            Port(9327, "metrics", "closed", listens="loopback"),
        ),
        memory=_memory(dedicated=Memory(512, 2048), shared=Memory(128, 256)),
        certificates=("/etc/seaweedfs/s3",),
        restart=Restart("__seaweedfs_current", tasks="current"),
        secrets=(Secret("archive-node"), _TOKENS),
        health=Health(port="s3", path="/healthz", tls="/etc/seaweedfs/tls/node"),
        metrics=Metrics("metrics"),
    ),
    Service("seaweedfs-peers", role="seaweedfs", group="cas"),
    Service("seaweedfs-fence", role="seaweedfs", group="cas"),
    # Reads the replicas of the node's volume server again (ADR 58).
    Service("seaweedfs-scrub.timer", role="seaweedfs", group="cas"),
    # It follows the database's leader, so it runs where a node has a Patroni to ask.
    Service("seaweedfs-leader", role="seaweedfs", group="cas", masters=True, beside="postgres"),
)

_ORTHANC_SECRETS = (
    Secret("pacs", role="hapacs_node", tasks="secrets"),
    Secret("archive-node", role="hapacs_node", tasks="secrets", client=True),
)

_PACS = (
    Service("das", role="das", group="pacs"),
    Service("das-scrub.timer", role="das", group="pacs"),
    # Ends the TLS of the ports `https` of the two services below.
    Service(
        "orthanc-tls",
        role="orthanc",
        group="pacs",
        prepared_by=("hapacs_node",),
        memory=_memory(dedicated=Memory(64), shared=Memory(32)),
        certificates=("/etc/orthanc-tls",),
        restart=Restart("__orthanc_tls_current", hands_over=("store", "query")),
    ),
    # Orthanc has no setting for the addresses that it listens at.
    Service(
        "orthanc-store",
        role="orthanc",
        group="pacs",
        ports=(
            Port(4242, "dicom", "tls", ("load_balancer", "pacs"), authority="pacs", listens="everywhere"),
            Port(8042, "https", "tls", ("load_balancer", "pacs", "management"), authority="pacs"),
            Port(8046, "stow", "tls", ("load_balancer", "pacs", "management"), authority="pacs"),
            Port(18042, "http", "closed", listens="everywhere"),
        ),
        memory=_memory(dedicated=Memory(1440, 8192), shared=Memory(384, 1536)),
        certificates=("/etc/orthanc-tls",),
        restart=Restart("__orthanc_current", hands_over=("store",)),
        secrets=_ORTHANC_SECRETS,
        health=Health(port="http", path="/hapacs/health"),
        metrics=Metrics("http", path="/hapacs/metrics", facts=True),
    ),
    Service(
        "orthanc-query",
        role="orthanc",
        group="pacs",
        ports=(
            Port(4243, "dicom", "tls", ("load_balancer", "pacs"), authority="pacs"),
            Port(8043, "https", "tls", ("load_balancer", "pacs", "management"), authority="pacs"),
            Port(8045, "retrieve", "tls", ("load_balancer", "pacs", "management"), authority="pacs"),
            Port(18043, "http", "closed", listens="everywhere"),
        ),
        memory=_memory(dedicated=Memory(1568, 8192), shared=Memory(384, 1536)),
        certificates=("/etc/orthanc-tls",),
        restart=Restart("__orthanc_current", hands_over=("query",)),
        secrets=_ORTHANC_SECRETS,
        health=Health(port="http", path="/hapacs/health"),
        metrics=Metrics("http", path="/hapacs/metrics", facts=True),
    ),
)

_ROUTING = (
    # Any node may send to a destination, so it has no port of its own but that of its metrics.
    Service(
        "hapacs-routing",
        role="routing",
        group="pacs",
        ports=(Port(9330, "metrics", "closed", listens="loopback"),),
        prepared_by=("hapacs_node", "orthanc"),
        memory=_memory(dedicated=Memory(256, 1024), shared=Memory(96, 384)),
        certificates=("/etc/hapacs-routing/tls",),
        restart=Restart("__routing_current"),
        secrets=_ORTHANC_SECRETS,
        health=Health(port="metrics", path="/metrics"),
        metrics=Metrics("metrics"),
    ),
    # Starts a program that ends, as the timers of the integrity do.
    Service(
        "hapacs-compare.timer",
        role="routing",
        group="pacs",
        prepared_by=("hapacs_node", "orthanc"),
        memory=_memory(dedicated=Memory(0, 384), shared=Memory(0, 256)),
    ),
)

_COMMITMENT = (
    # It passes associations on to the storing service beside it.
    Service(
        "hapacs-commitment",
        role="commitment",
        group="pacs",
        ports=(
            Port(4244, "dicom", "tls", ("load_balancer",), authority="pacs"),
            # What the archive has of another site's images (ADR 74).
            Port(4245, "replicas", "tls", ("load_balancer",), authority="pacs"),
            Port(9331, "metrics", "closed", listens="loopback"),
        ),
        prepared_by=("hapacs_node", "orthanc"),
        memory=_memory(dedicated=Memory(256, 1024), shared=Memory(64, 384)),
        certificates=("/etc/hapacs-commitment/tls",),
        restart=Restart("__commitment_current"),
        # It reads the key for each look, so it needs no restart together with the archive.
        secrets=(*_ORTHANC_SECRETS, Secret("archive-tokens")),
        health=Health(port="metrics", path="/metrics"),
        metrics=Metrics("metrics"),
    ),
)

# Each timer starts a program that ends; `hapacs.site.problems` judges what it found. No memory is kept for the program:
# it takes what is free, and the kernel ends it before any service.
_INTEGRITY = (
    Service(
        "hapacs-scrub.timer",
        role="integrity",
        group="pacs",
        prepared_by=("hapacs_node", "orthanc"),
        memory=_memory(dedicated=Memory(0, 1024), shared=Memory(0, 384)),
    ),
    Service(
        "hapacs-reconcile.timer",
        role="integrity",
        group="pacs",
        prepared_by=("hapacs_node", "orthanc"),
        memory=_memory(dedicated=Memory(0, 1024), shared=Memory(0, 384)),
    ),
    Service(
        "hapacs-manifest.timer",
        role="integrity",
        group="pacs",
        prepared_by=("hapacs_node", "orthanc"),
        memory=_memory(dedicated=Memory(0, 512), shared=Memory(0, 384)),
    ),
)

# On the first two nodes that keep images, because they have the program and its Python (ADR 56).
_PROBE = (
    Service(
        "hapacs-probe",
        role="probe",
        group="pacs",
        pair=True,
        ports=(Port(9332, "metrics", "closed", listens="loopback"),),
        prepared_by=("hapacs_node", "orthanc"),
        memory=_memory(dedicated=Memory(96, 256), shared=Memory(48, 192)),
        certificates=("/etc/hapacs-probe/tls",),
        restart=Restart("__probe_current"),
        secrets=(Secret("pacs", role="hapacs_node", tasks="secrets"), Secret("probe")),
        health=Health(port="metrics", path="/metrics"),
        metrics=Metrics("metrics"),
    ),
)

_ENTRY = (
    Service(
        "viewer",
        role="viewer",
        group="load_balancer",
        ports=(Port(8044, "https", "tls", reached_by=("load_balancer",), authority="pacs"),),
        memory=_memory(dedicated=Memory(64), shared=Memory(32)),
        certificates=("/etc/viewer/tls",),
        restart=Restart("__viewer_current"),
    ),
    Service(
        "haproxy",
        role="haproxy",
        group="load_balancer",
        ports=(
            Port(7780, "peers", "tls", reached_by=("load_balancer",), authority="pacs"),
            # Nodes ask which address calls with an AE title (ADR 22).
            Port(7781, "callers", "tls", reached_by=("pacs",), authority="pacs", listens="virtual"),
            Port(8404, "statistics", "web", reached_by=("management",), authority="edge", listens="management"),
            Port(8405, "metrics", "closed", listens="loopback"),
            # Copies of another site's images; the firewall lets nobody in at a site that is no second one (ADR 74).
            Port(8407, "replicas", "tls", reached_by=("replicators",), authority="replica", listens="virtual"),
            # The status page (ADR 68).
            Port(8406, "status", "web", reached_by=("management",), authority="edge", listens="management"),
        ),
        virtual_ports=(VirtualPort("dicom.port"), VirtualPort("dicom.tls_port"), VirtualPort("https_port")),
        memory=_memory(dedicated=Memory(384), shared=Memory(128)),
        certificates=("/etc/haproxy/tls",),
        restart=Restart("__haproxy_current", hands_over=("address",)),
        secrets=(Secret("dicomweb"), Secret("statistics"), Secret("probe")),
        metrics=Metrics("metrics"),
    ),
    Service(
        "keepalived",
        role="keepalived",
        group="load_balancer",
        protocols=(Protocol("vrrp", reached_by=("load_balancer",)),),
        memory=_memory(dedicated=Memory(64), shared=Memory(16)),
        restart=Restart("__keepalived_current"),
    ),
)

_MONITORING = (
    Service(
        "prometheus",
        role="prometheus",
        group="monitoring",
        pair=True,
        ports=(
            Port(9090, "web", "tls", reached_by=("monitoring", "load_balancer", "management"), authority="monitoring"),
        ),
        memory=_memory(dedicated=Memory(1024, 4096), shared=Memory(160, 512)),
        certificates=("/etc/prometheus/tls",),
        restart=Restart("__prometheus_current"),
        metrics=Metrics("web"),
    ),
    Service(
        "prometheus-alertmanager",
        role="alertmanager",
        group="monitoring",
        pair=True,
        ports=(
            Port(9093, "web", "tls", reached_by=("monitoring", "load_balancer", "management"), authority="monitoring"),
            Port(9094, "peer", "tls", reached_by=("monitoring",), authority="monitoring"),
        ),
        memory=_memory(dedicated=Memory(64, 256), shared=Memory(40, 128)),
        certificates=("/etc/alertmanager/tls",),
        restart=Restart("__alertmanager_current"),
        metrics=Metrics("web"),
    ),
)

SERVICES: tuple[Service, ...] = (
    *_SYSTEM,
    *_EXPORTERS,
    *_DATABASE,
    *_ARCHIVE,
    *_PACS,
    *_ROUTING,
    *_COMMITMENT,
    *_INTEGRITY,
    *_PROBE,
    *_ENTRY,
    *_MONITORING,
)
