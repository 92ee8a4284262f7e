"""The configuration file of the probe."""

from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field

from hapacs_node.commitment.settings import Port, Tls
from hapacs_node.section import Section, ServiceFile
from hapacs_node.settings import Host, Name, Seconds


class Entry(Section):
    """The DICOM titles of the site at its virtual address."""

    host: Host
    port: Port
    store_ae: str
    query_ae: str


class WebEntry(Section):
    """The DICOMweb service at the virtual address.

    Attributes
    ----------
    authority
        The authority of its certificate, PEM; without it connections are not encrypted (loopback tests).
    password_file
        The password of the probe's user.
    """

    host: Host
    port: Port
    authority: Path | None = None
    password_file: Path


class Target(Section):
    """A node whose own services are asked, past the balancer."""

    # The list of members says more about each.
    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Name
    address: Host


class Nodes(Section):
    """The nodes that keep images.

    Attributes
    ----------
    targets
        Each of them.
    store_port, query_port
        Of their two services.
    tls
        A certificate that these take; without it connections are not encrypted (loopback tests).
    """

    targets: tuple[Target, ...]
    store_port: Port
    query_port: Port
    tls: Tls | None = None


class ProbeSettings(ServiceFile):
    """The configuration of the probe of one node.

    Attributes
    ----------
    site, node
        They name the images.
    metrics_port
        On 127.0.0.1.
    period_s, nodes_period_s
        Time between two runs through the virtual address, and between two runs past the balancer.
    timeout_s
        Longest wait for each answer. A step without one has failed.
    web
        Without it DICOMweb is not asked.
    """

    site: Annotated[str, Field(min_length=1)]
    node: Name
    metrics_port: Port
    period_s: Seconds = 60
    nodes_period_s: Seconds = 300
    timeout_s: Seconds = 15
    dicom: Entry
    web: WebEntry | None = None
    nodes: Nodes
