"""The reference: Debian's Orthanc, with its own SQLite index and files, on one node of the site."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hapacs.bench import node_bare
from hapacs.dicom import Peer
from hapacs.site.access import Node, Site

UNIT = node_bare.UNIT
_AE_TITLE = "BARE"
_DICOM_PORT, _HTTP_PORT, _HTTPS_PORT = 11199, 11198, 11197
# Its index is on the disk of the site's database, its images on the disk of the site's online copies.
_INDEX, _STORAGE = "/srv/data/hapacs-bench", "/srv/das/hapacs-bench"
DICOMWEB = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


@dataclass(frozen=True)
class Bare:
    """A running bare Orthanc.

    Attributes
    ----------
    peer
        Its DICOM interface.
    host, http_port
        Its HTTP interface, in the clear and without a login.
    https_port
        The same behind TLS, where it was asked for.
    """

    node: Node
    peer: Peer
    host: str
    http_port: int
    https_port: int = _HTTPS_PORT


def configuration(plugins: Sequence[str]) -> dict[str, object]:
    """Return the configuration of the bare Orthanc.

    Storage has Orthanc's defaults: files and index are flushed to disk. Numbers of threads and PDU length are as in the
    role orthanc, so that they don't affect the comparison.
    """
    return {
        "Name": UNIT,
        "IndexDirectory": _INDEX,
        "StorageDirectory": _STORAGE,
        "SyncStorageArea": True,
        "StorageCompression": False,
        "Plugins": list(plugins),
        "DicomAet": _AE_TITLE,
        "DicomPort": _DICOM_PORT,
        "DicomAlwaysAllowGet": True,
        "DicomThreadsCount": 16,
        "MaximumPduLength": 131072,
        "HttpPort": _HTTP_PORT,
        "HttpThreadsCount": 50,
        "RemoteAccessAllowed": True,
        "AuthenticationEnabled": False,
        "MallocArenaMax": 5,
    }


@contextmanager
def running(site: Site, plugins: Sequence[str] = (), *, https: bool = False) -> Iterator[Bare]:
    """Run a bare Orthanc on the first PACS node of the site; it is removed completely afterwards.

    Parameters
    ----------
    plugins
        Files of Orthanc's plugins.
    https
        Whether stunnel with the node's certificate stands in front of its HTTP: Debian's Orthanc ends at the first
        connection when it has TLS (ADR 8).
    """
    node = site.members("pacs")[0]
    script = Path(node_bare.__file__)
    arguments = {
        "action": "start",
        "configuration": configuration(plugins),
        "directories": [_INDEX, _STORAGE],
        "ports": [_DICOM_PORT, *([_HTTPS_PORT] if https else [_HTTP_PORT])],
        "https_port": _HTTPS_PORT if https else None,
        "caller": site.destination[1],
    }
    site.run_script(node, script, arguments, root=True)
    try:
        yield Bare(node, Peer(node.address, _DICOM_PORT, _AE_TITLE), node.address, _HTTP_PORT)
    finally:
        site.run_script(node, script, {"action": "stop"}, root=True)
