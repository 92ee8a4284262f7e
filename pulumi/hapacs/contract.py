"""The inventory contract: all that Pulumi hands over to Ansible.

The Pulumi program exports it as ``inventory``, the engine writes it to ``<state>/inventory.json`` and the inventory
plugin ``pulumi_stack`` reads it. It is plain JSON and holds no secret. ``contract.schema.json`` describes it:
``python -m hapacs.contract`` prints that schema.

A change that breaks readers of the old form raises `SCHEMA_VERSION`.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from hapacs.changes import NOT_MADE_YET
from hapacs.services.model import Group, Sizing
from hapacs.services.nodes import pair
from hapacs.services.nodes import port as port_of
from hapacs.settings.base import Model
from hapacs.settings.fields import (
    Address,
    AeTitle,
    DeploymentName,
    DiskSerial,
    GroupWord,
    Network,
    Networks,
    NodeName,
    Port,
    SopClass,
)
from hapacs.settings.models import Backup, Caller, Dicom, Settings, Site, VirtualAddress
from hapacs.settings.monitoring import MailServer, Receiver
from hapacs.settings.policy import Admission, CharacterSet, Integrity, OrthancSource, OrthancUpstream, Replace
from hapacs.settings.worklist import Worklist
from hapacs_node.probe.names import TITLE as PROBE
from hapacs_node.replication.model import Outgoing, SecondSite
from hapacs_node.routing.destination import Destination, DicomDestination
from hapacs_node.routing.fields import Name
from hapacs_node.routing.model import Rule

SCHEMA_VERSION = 1

Path = Annotated[str, StringConstraints(pattern=r"^/[^\x00-\x1f]*$")]


class ContractNode(Model):
    """One existing machine.

    Attributes
    ----------
    das_devices
        None on a node without a DAS.
    das_wipe_serials
        Serial numbers of disks that may be wiped when the DAS is made.
    """

    zone: GroupWord
    address: Address
    management_address: Address
    ssh_user: Annotated[str, Field(min_length=1)]
    ssh_port: Port
    das_devices: tuple[Path, ...]
    das_wipe_serials: tuple[DiskSerial, ...] = ()
    data_directory: Path


class ContractVip(VirtualAddress):
    """The site's virtual address, with the prefix length of its network."""

    prefix: Annotated[int, Field(ge=1, le=32)]


class ContractTitles(Model):
    """AE titles of another site under which a site answers too."""

    store_ae: AeTitle
    query_ae: AeTitle


class ContractDicom(Dicom):
    """The site's AE titles and ports, with defaults filled in.

    Attributes
    ----------
    also
        Titles of the primary site, at a second one that takes its place when it is lost; absent at other sites.
    """

    port: Port
    tls_port: Port
    also: ContractTitles | None = None


class ContractPolicy(Model):
    """The site's policy.

    Attributes
    ----------
    das_minimum_free_bytes
        Free space below which a node refuses images; includes the watermark.
    das_evict_below_bytes, das_evict_until_bytes
        Free space below which eviction starts, and at which it stops. Only copies that the archive has confirmed are
        evicted.
    orthanc_source
        Where Orthanc comes from.
    orthanc_upstream
        Absent unless it comes from its authors.
    replace
        Which caller may replace a stored image by one with the same UIDs and other bytes.
    undeclared_character_set
        Character set in which files that declare none are read.
    accepted_sop_classes
        SOP classes that are taken besides all storage classes that Orthanc knows.
    wado_uri
        Whether single images are also given by WADO-URI.
    integrity
        Checks that each node runs by itself.
    admission
        When callers that yield are refused.
    """

    das_watermark_fraction: float
    das_minimum_free_bytes: int
    das_evict_below_bytes: int
    das_evict_until_bytes: int
    das_minimum_age_hours: int
    cas_replication: str
    retention_mode: Literal["GOVERNANCE", "COMPLIANCE"]
    retention_days: int
    orthanc_source: OrthancSource
    orthanc_upstream: OrthancUpstream | None = None
    replace: Replace
    undeclared_character_set: CharacterSet
    accepted_sop_classes: tuple[SopClass, ...]
    wado_uri: bool
    integrity: Integrity
    admission: Admission


class ContractRouting(Outgoing):
    """The destinations and rules of the site, and its second site; each destination has the title that calls it."""

    destinations: Mapping[Name, Destination]
    rules: tuple[Rule, ...]
    series_quiet_s: int
    study_quiet_s: int


class ContractMonitoring(Model):
    """How long numbers are kept, and who gets which alert, with defaults filled in."""

    retention_days: int
    retention_bytes: int
    mail_server: MailServer | None = None
    receivers: Mapping[GroupWord, Receiver]
    page: tuple[GroupWord, ...]
    ticket: tuple[GroupWord, ...]
    watchdog: tuple[GroupWord, ...]


class ContractWorklist(Worklist):
    """The modality worklist, with defaults filled in."""

    keep_days: int


class ContractBackup(Backup):
    """Where backups of the site's database go, with defaults filled in."""

    hour: int
    keep_full: int


class ContractSite(Model):
    """One site: settings of the site, and its nodes.

    Attributes
    ----------
    replicators
        From where copies of another site's images may come; none at a site that is no second one.
    worklist
        Absent on a site without one.
    """

    role: Literal["primary", "dr"]
    cluster_network: Network
    management_networks: Networks
    client_networks: Networks
    replicators: tuple[Network, ...]
    vip: ContractVip
    dicom: ContractDicom
    https_port: Port
    callers: Annotated[tuple[Caller, ...], Field(min_length=1)]
    policy: ContractPolicy
    routing: ContractRouting
    monitoring: ContractMonitoring
    worklist: ContractWorklist | None = None
    backup: ContractBackup | None = None
    members: Mapping[Group, Annotated[tuple[NodeName, ...], Field(min_length=1)]]
    nodes: Annotated[Mapping[NodeName, ContractNode], Field(min_length=1)]

    @model_validator(mode="after")
    def _members_exist(self) -> Self:
        for group, names in self.members.items():
            if unknown := sorted(set(names) - set(self.nodes)):
                raise ValueError(f"members.{group} names unknown nodes: {', '.join(unknown)}")
        if bare := [name for name in self.members["pacs"] if not self.nodes[name].das_devices]:
            raise ValueError(f"nodes.{bare[0]}.das_devices is empty, but the node keeps images")
        return self


class Contract(Model):
    """A whole deployment.

    Attributes
    ----------
    target
        Name of the target's module.
    sizing
        Memory of a node's services: ``dedicated`` or ``shared``.
    """

    schema_version: Literal[1]
    deployment: DeploymentName
    target: GroupWord
    sizing: Sizing
    sites: Annotated[Mapping[GroupWord, ContractSite], Field(min_length=1)]

    def plain(self) -> dict[str, Any]:
        """Return the contract as plain JSON values, without fields that are not set."""
        return self.model_dump(mode="json", exclude_none=True)


def planned(contract: dict[str, Any], last: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the contract of a preview; devices that do not exist yet are taken from the last `hapacs up`."""
    known = {name: node for site in (last or {}).get("sites", {}).values() for name, node in site["nodes"].items()}
    for site in contract["sites"].values():
        for name, node in site["nodes"].items():
            if NOT_MADE_YET in node["das_devices"] and name in known:
                node["das_devices"] = known[name]["das_devices"]
    return contract


def read(file: FilePath) -> dict[str, Any] | None:
    """Return the contract in a file, or None before the first `hapacs up`."""
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found


def write(file: FilePath, contract: Mapping[str, Any]) -> None:
    """Write a contract atomically."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    new.write_text(to_text(contract), encoding="utf-8")
    new.replace(file)


def callers(settings: Settings, site: Site) -> tuple[Caller, ...]:
    """Return the callers of a site, with ``hapacs verify``, which has all rights, and the probe."""
    verify, controller = settings.verify, settings.controller(site)
    own = Caller.model_validate(
        {
            "ae_title": verify.ae_title,
            "networks": [f"{controller}/32"],
            "may": ["echo", "store", "find", "get", "move", *([] if site.worklist is None else ["worklist"])],
            "host": controller,
            "port": verify.port,
        }
    )
    probing = pair(list(site.members("pacs")))
    # Who calls the virtual address on the node that has it comes from the virtual address.
    networks = [f"{site.nodes[name].address}/32" for name in probing] + [f"{site.vip.address}/32"]
    probe = Caller.model_validate({"ae_title": PROBE, "networks": networks, "may": ["echo", "store", "find", "get"]})
    return (*settings.callers, probe, own)


def policy(site: Site) -> ContractPolicy:
    """Return a site's policy in plain numbers."""
    source = site.policy.orthanc
    plain = {
        "orthanc_source": source,
        "orthanc_upstream": site.policy.orthanc_upstream if source == "upstream" else None,
        "das_minimum_free_bytes": site.das_minimum_free_bytes,
        "das_evict_below_bytes": site.das_evict_below_bytes,
        "das_evict_until_bytes": site.das_evict_until_bytes,
    }
    return ContractPolicy.model_validate(site.policy.model_dump(include=set(ContractPolicy.model_fields)) | plain)


def partner(settings: Settings, site: Site) -> tuple[str, Site] | None:
    """Return name and settings of the site that has copies of a site's images, and sends its own; None without one."""
    if not any(one.policy.replicate.enabled for one in settings.sites.values()):
        return None
    other = "dr" if site.role == "primary" else "primary"
    return next(((name, one) for name, one in settings.sites.items() if one.role == other), None)


def second_site(settings: Settings, site: Site) -> SecondSite | None:
    """Return where a site sends copies of its images; None when it sends none."""
    found = partner(settings, site)
    if found is None:
        return None
    name, other = found
    limits = site.policy.replicate.model_dump(exclude={"enabled"})
    url = f"https://{other.vip.address}:{port_of('haproxy', 'replicas')}"
    return SecondSite(name=name, role=site.role, url=url, **limits)


def replicators(settings: Settings, site: Site) -> list[str]:
    """Return from where copies may come to a site: the nodes of the other site, and the site's own router."""
    found = partner(settings, site)
    if found is None:
        return []
    _, other = found
    # Its monitoring sends the Watchdog.
    senders = {*other.members("pacs"), *pair(list(other.members("monitoring")))}
    addresses = {other.nodes[node].address for node in senders} | {other.management_address(node) for node in senders}
    # A router between the sites may put its own address in place of the sender's.
    if site.networks.gateway is not None:
        addresses.add(site.networks.gateway)
    return [f"{address}/32" for address in sorted(addresses)]


def also(settings: Settings, site: Site) -> ContractTitles | None:
    """Return under which other AE titles a site answers: a second site has those of the one that it may replace."""
    found = partner(settings, site)
    if found is None or site.role == "primary":
        return None
    _, primary = found
    return ContractTitles(store_ae=primary.dicom.store_ae, query_ae=primary.dicom.query_ae)


def routing(site: Site, second: SecondSite | None = None) -> ContractRouting:
    """Return a site's routing; the store title calls a destination that names no other one."""
    title = {"calling_ae": site.dicom.store_ae}
    called = {
        name: destination.model_copy(update=title)
        if isinstance(destination, DicomDestination) and not destination.calling_ae
        else destination
        for name, destination in site.routing.destinations.items()
    }
    return ContractRouting.model_validate(dict(site.routing) | {"destinations": called, "second_site": second})


def monitoring(site: Site) -> ContractMonitoring:
    """Return a site's monitoring in plain numbers."""
    return ContractMonitoring.model_validate(dict(site.monitoring))


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of the contract."""
    return Contract.model_json_schema(mode="serialization") | {
        "$schema": "https://json-schema.org/draft/2020-12/schema"
    }


def to_text(value: Mapping[str, Any]) -> str:
    """Return JSON as the committed files hold it."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(to_text(json_schema()))
