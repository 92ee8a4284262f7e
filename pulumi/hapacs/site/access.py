"""Access to a site that is up: its nodes, and a client for each of its services.

The clients' packages are imported where they are used: together they take several seconds, and `hapacs status` needs
none of them.
"""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hapacs import secrets, ssh
from hapacs.deployment import Deployment
from hapacs.errors import HapacsError
from hapacs.services import nodes as services
from hapacs.site import association

if TYPE_CHECKING:
    import httpx

    from hapacs.dicom import Caller, Peer

Service = Literal["store", "query"]
Identity = Literal["node", "reader"]
"""Whose keys at the archive: those of the storing or those of the answering services."""
HTTPS_PORTS: Mapping[Service, int] = {
    "store": services.port("orthanc-store", "https"),
    "query": services.port("orthanc-query", "https"),
}
BUCKET = "archive"
_LIFETIME, _RENEW_BEFORE = timedelta(days=30), timedelta(days=7)
_SCRIPT_TIMEOUT_S = 60


class NodeError(HapacsError):
    """A node does not answer by SSH, or a command failed on it.

    Attributes
    ----------
    reason
        The message without the node's name.
    """

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(f"{node} by SSH: {reason}.", "Check that it is on and reachable: `hapacs status`.")
        self.reason = reason


@dataclass(frozen=True)
class Node:
    """One machine of the contract."""

    name: str
    address: str
    management_address: str
    ssh_user: str
    ssh_port: int


class Site:
    """One site of a deployment that is up.

    Parameters
    ----------
    deployment
        Its settings, secrets and certificate authorities.
    name
        Name of the site.
    contract
        The site's part of the inventory contract.
    """

    def __init__(self, deployment: Deployment, name: str, contract: Mapping[str, Any]) -> None:
        self.deployment = deployment
        self.name = name
        self.contract = contract
        fields = ("address", "management_address", "ssh_user", "ssh_port")
        self.nodes = {
            node: Node(name=node, **{field: values[field] for field in fields})
            for node, values in contract["nodes"].items()
        }
        self.vip = str(contract["vip"]["address"])
        verify = deployment.settings.verify
        controller = deployment.settings.controller(deployment.settings.sites[name])
        self.destination = (verify.ae_title, str(controller), verify.port)

    def members(self, group: str) -> list[Node]:
        """Return the nodes of a group."""
        return [self.nodes[name] for name in self.contract["members"].get(group, ())]

    @cached_property
    def caller(self) -> Caller:
        """The calling side of `hapacs verify`."""
        from hapacs.dicom import Caller  # noqa: PLC0415

        return Caller(self.destination[0])

    @cached_property
    def store_peer(self) -> Peer:
        """The store title at the virtual address."""
        return self._peer("store_ae")

    @cached_property
    def query_peer(self) -> Peer:
        """The query title at the virtual address."""
        return self._peer("query_ae")

    @property
    def store_ends(self) -> association.Ends:
        """An association of `hapacs verify` to the store title at the virtual address."""
        dicom = self.contract["dicom"]
        return association.Ends(self.vip, dicom["port"], dicom["store_ae"], self.destination[0])

    def _peer(self, title: str) -> Peer:
        from hapacs.dicom import Peer  # noqa: PLC0415

        dicom = self.contract["dicom"]
        return Peer(self.vip, dicom["port"], dicom[title])

    @cached_property
    def secrets(self) -> dict[str, Any]:
        """The deployment's secrets, in memory."""
        return dict(secrets.read(self.deployment))

    def authority_file(self, authority: str) -> Path:
        """Return the certificate of an authority."""
        return self.deployment.pki_directory / authority / "ca.crt"

    def pair(self, unit: str) -> dict[str, str]:
        """Return the addresses of the two monitoring nodes that run a service, as URLs by the nodes' names."""
        port = services.port(unit, "web")
        members = services.pair(self.contract["members"].get("monitoring", ()))
        return {name: f"https://{self.nodes[name].address}:{port}" for name in members}

    @cache  # noqa: B019 - a site lives as long as the command
    def tls(self, authority: str, *, client: bool) -> ssl.SSLContext:
        """Return the TLS context for servers of an authority; with `client` it holds a client certificate."""
        from hapacs import pki  # noqa: PLC0415

        context = ssl.create_default_context(cafile=str(self.authority_file(authority)))
        if client:
            path = self.deployment.pki_directory / f"controller-{authority}"
            passphrase = str(self.secrets["hapacs_secret_pki_passphrase"])
            signer = pki.Authority(self.deployment.pki_directory, authority, passphrase)
            signer.issue(path, pki.Subject("controller", usages=("client",)), _LIFETIME, _RENEW_BEFORE)
            context.load_cert_chain(path.with_suffix(".crt"), path.with_suffix(".key"))
        return context

    @cache  # noqa: B019
    def orthanc(self, node: str, service: Service) -> Any:
        """Return a client of one Orthanc on one node, past the balancer."""
        from pyorthanc import Orthanc  # type: ignore[import-untyped] # noqa: PLC0415

        url = f"https://{self.nodes[node].address}:{HTTPS_PORTS[service]}"
        return Orthanc(url, return_raw_response=True, verify=self.tls("pacs", client=True), timeout=30)

    def hapacs(self, node: str, service: Service, path: str) -> tuple[int, Any]:
        """Ask the storage plugin of a node; return the HTTP status and the document."""
        client = self.orthanc(node, service)
        answer = client.get(f"{client.url}/hapacs/{path}")
        try:
            return answer.status_code, answer.json()
        except json.JSONDecodeError:
            return answer.status_code, {}

    @cached_property
    def web(self) -> httpx.Client:
        """An HTTP client for DICOMweb at the virtual address, with the login of `verify`."""
        return self.web_client()

    def web_client(self, timeout_s: float = 60) -> httpx.Client:
        """Make a client like `web` with its own connections."""
        import httpx  # noqa: PLC0415

        users = self.secrets["hapacs_secret_dicomweb_users"]
        return httpx.Client(
            base_url=f"https://{self.vip}:{self.contract['https_port']}/dicom-web/",
            auth=("verify", users["verify"]),
            verify=self.tls("edge", client=False),
            timeout=timeout_s,
        )

    @cache  # noqa: B019
    def s3(self, node: str, identity: Identity) -> Any:
        """Return an S3 client of one node's gateway."""
        import boto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        return boto3.session.Session().client(
            "s3",
            endpoint_url=f"https://{self.nodes[node].address}:{services.port('seaweedfs-s3', 's3')}",
            aws_access_key_id=self.secrets[f"hapacs_secret_cas_{identity}_access_key"],
            aws_secret_access_key=self.secrets[f"hapacs_secret_cas_{identity}_secret_key"],
            region_name="us-east-1",
            verify=str(self.authority_file("cas")),
            config=Config(
                connect_timeout=5, read_timeout=30, retries={"max_attempts": 2}, s3={"addressing_style": "path"}
            ),
        )

    def run_script(
        self,
        node: Node,
        script: Path,
        arguments: Any,
        *,
        root: bool,
        timeout_s: float = _SCRIPT_TIMEOUT_S,
        begins_within_s: float | None = None,
    ) -> Any:
        """Send a script to a node, run it there with Debian's Python, and return the JSON that it prints.

        Parameters
        ----------
        begins_within_s
            Limit for the first output of the script; by default that of the whole script.

        Raises
        ------
        NodeError
            When the node doesn't answer, or the script fails.
        """
        words = [*(["sudo"] if root else []), "python3", "-", f"'{json.dumps(arguments)}'"]
        text = script.read_text(encoding="utf-8")
        return json.loads(self.run(node, words, text, timeout_s, begins_within_s))

    def run(
        self,
        node: Node,
        words: Sequence[str],
        text: str,
        timeout_s: float = _SCRIPT_TIMEOUT_S,
        begins_within_s: float | None = None,
    ) -> str:
        """Run a command on a node with `text` as its input, and return its output.

        Parameters
        ----------
        begins_within_s
            Limit for the first output; by default that of the whole command.

        Raises
        ------
        NodeError
            When the node doesn't answer, or the command fails.
        """
        deployment = self.deployment
        command = ssh.command(
            node.management_address, deployment.ssh_key, deployment.known_hosts, *words,
            user=node.ssh_user, port=node.ssh_port,
        )  # fmt: skip
        first_s = min(timeout_s, begins_within_s or timeout_s)
        # A new session, so that Ctrl-C doesn't end the command before this process handles it.
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        ) as process:  # fmt: skip
            try:
                try:
                    printed, failure = process.communicate(text, first_s)
                except subprocess.TimeoutExpired as expired:
                    if not expired.output:
                        raise
                    printed, failure = process.communicate(timeout=timeout_s - first_s)
            except subprocess.TimeoutExpired as expired:
                process.kill()
                waited_s = timeout_s if expired.output else first_s
                raise NodeError(node.name, f"no answer within {waited_s:g} s") from None
        if process.returncode:
            said = failure.strip().splitlines()
            raise NodeError(node.name, said[-1] if said else f"exit code {process.returncode}")
        return printed


def sites(deployment: Deployment) -> list[Site]:
    """Return the sites of a deployment that is up, the primary one first.

    Raises
    ------
    RefusedError
        When it is not up.
    """
    deployment.require_up()
    contract = json.loads(deployment.contract_file.read_text(encoding="utf-8"))
    found = [Site(deployment, name, values) for name, values in contract["sites"].items()]
    return sorted(found, key=lambda site: site.contract["role"] != "primary")
