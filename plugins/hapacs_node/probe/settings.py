"""The configuration file of the probe."""

import json
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hapacs_node.commitment.settings import Port, Tls
from hapacs_node.errors import ConfigurationError
from hapacs_node.settings import Host, Name, Seconds


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Entry(_Section):
    """The DICOM titles of the site at its virtual address."""

    host: Host
    port: Port
    store_ae: str
    query_ae: str


class WebEntry(_Section):
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


class Target(_Section):
    """A node whose own services are asked, past the balancer."""

    # The list of members says more about each.
    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Name
    address: Host


class Nodes(_Section):
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


class ProbeSettings(_Section):
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

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file.

        Raises
        ------
        ConfigurationError
            When it can't be read, or is wrong.
        """
        try:
            return cls.model_validate(json.loads(path.read_bytes()))
        except (OSError, json.JSONDecodeError) as error:
            raise ConfigurationError(f"{path} can't be read: {error}") from None
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
            raise ConfigurationError(f"{path} is wrong:\n" + "\n".join(lines)) from None
