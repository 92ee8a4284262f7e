"""The inventory contract: the only thing that Ansible knows of Pulumi.

The Pulumi program exports it as ``inventory``, the engine writes it to ``<state>/inventory.json`` and the inventory
plugin ``pulumi_stack`` reads it. It is plain JSON and holds no secret. ``contract.schema.json`` describes it:
``python -m hapacs.contract`` prints that schema.

A change that a reader of the old form could not follow raises `SCHEMA_VERSION`.
"""

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from hapacs.settings.fields import Address, DeploymentName, GroupWord, Network, Networks, NodeName, Port
from hapacs.settings.models import Caller, Dicom, Group, Model, OrthancUpstream, Settings, Site, VirtualAddress

SCHEMA_VERSION = 1

Path = Annotated[str, StringConstraints(pattern=r"^/[^\x00-\x1f]*$")]


class ContractNode(Model):
    """One machine that is there."""

    zone: GroupWord
    address: Address
    management_address: Address
    ssh_user: Annotated[str, Field(min_length=1)]
    ssh_port: Port
    das_devices: Annotated[tuple[Path, ...], Field(min_length=1)]
    data_directory: Path


class ContractVip(VirtualAddress):
    """The site's virtual address, with the prefix length of its network."""

    prefix: Annotated[int, Field(ge=1, le=32)]


class ContractDicom(Dicom):
    """The site's AE titles and ports, all given."""

    port: Port
    tls_port: Port


class ContractPolicy(Model):
    """The site's policy.

    Attributes
    ----------
    das_minimum_free_bytes
        Free space below which a node takes no more images; the watermark fraction is already in it.
    orthanc_upstream
        Absent where Debian's Orthanc runs.
    """

    das_watermark_fraction: float
    das_minimum_free_bytes: int
    cas_replication: str
    retention_mode: Literal["GOVERNANCE", "COMPLIANCE"]
    retention_days: int
    orthanc_upstream: OrthancUpstream | None = None


class ContractSite(Model):
    """One site: what its nodes have in common, and its nodes."""

    role: Literal["primary", "dr"]
    cluster_network: Network
    management_networks: Networks
    client_networks: Networks
    vip: ContractVip
    dicom: ContractDicom
    https_port: Port
    callers: Annotated[tuple[Caller, ...], Field(min_length=1)]
    policy: ContractPolicy
    members: Mapping[Group, Annotated[tuple[NodeName, ...], Field(min_length=1)]]
    nodes: Annotated[Mapping[NodeName, ContractNode], Field(min_length=1)]

    @model_validator(mode="after")
    def _members_exist(self) -> Self:
        for group, names in self.members.items():
            if unknown := sorted(set(names) - set(self.nodes)):
                raise ValueError(f"members.{group} names unknown nodes: {', '.join(unknown)}")
        return self


class Contract(Model):
    """A whole deployment, as it was brought up."""

    schema_version: Literal[1]
    deployment: DeploymentName
    target: Literal["lab", "static"]
    sites: Annotated[Mapping[GroupWord, ContractSite], Field(min_length=1)]

    def plain(self) -> dict[str, Any]:
        """Return the contract as plain JSON values; what is not set is left out."""
        return self.model_dump(mode="json", exclude_none=True)


def callers(settings: Settings) -> tuple[Caller, ...]:
    """Return who may call, with the caller of ``hapacs verify``, which may do everything from one address."""
    verify = settings.verify
    own = Caller.model_validate(
        {
            "ae_title": verify.ae_title,
            "networks": [f"{verify.host}/32"],
            "may": ["echo", "store", "find", "get", "move"],
            "host": verify.host,
            "port": verify.port,
        }
    )
    return (*settings.callers, own)


def policy(site: Site) -> ContractPolicy:
    """Return a site's policy in plain numbers."""
    free = {"das_minimum_free_bytes": site.das_minimum_free_bytes}
    return ContractPolicy.model_validate(site.policy.model_dump(include=set(ContractPolicy.model_fields)) | free)


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
