"""A PACS that is nothing but memory: it takes C-STORE on loopback, and can be told to misbehave."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined] # made at import time

from hapacs.dicom import Caller, Peer, Sample, files
from hapacs.site.access import Node, Site
from hapacs.verify.round_trip import orthanc_id

SYNTAXES = [
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5",
    *(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91)),
]  # fmt: skip


@dataclass
class Answer:
    status_code: int
    content: bytes = b""

    def json(self) -> Any:
        return json.loads(self.content)


@dataclass
class FakePacs:
    """What was stored, and what goes wrong.

    Attributes
    ----------
    refused
        SOP Instance UIDs that are answered 0xA700.
    lost
        Acknowledged, and never seen again.
    damaged
        Read with one bit flipped through the second node.
    forgotten
        Without a row in the catalog.
    unavailable
        How many reads are answered 503 first.
    """

    samples: dict[str, Sample]
    stored: dict[str, bytes] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    unavailable: int = 0

    def store(self, event: evt.Event) -> int:
        uid = str(cast(C_STORE, event.request).AffectedSOPInstanceUID)
        if uid in self.refused:
            return 0xA700
        sample = self.samples[uid]
        self.stored[uid] = files.with_meta(sample, event.encoded_dataset(include_meta=False))
        return 0x0000

    def read(self, node: str, path: str) -> Answer:
        names = {orthanc_id(sample): uid for uid, sample in self.samples.items()}
        uid = names[path.split("/")[2]]
        content = self.stored.get(uid)
        if self.unavailable:
            self.unavailable -= 1
            return Answer(503)
        if content is None or uid in self.lost:
            return Answer(404)
        if uid in self.damaged and node == "pacs2":
            content = content[:-1] + bytes([content[-1] ^ 1])
        return Answer(200, content)

    def record(self, digest: str) -> tuple[int, dict[str, Any]]:
        found = [uid for uid, content in self.stored.items() if hashlib.sha256(content).hexdigest() == digest]
        if not found or found[0] in self.forgotten:
            return 404, {}
        row = {
            "node": "pacs1", "acknowledged": True, "tombstoned_at": None, "size": len(self.stored[found[0]]),
            "key": f"sha256/{digest}", "offset": 0, "length": len(self.stored[found[0]]),
        }  # fmt: skip
        whole = {"present": True, "whole": True, "state": "whole"}
        return 200, {"node": "pacs1", "catalog": [row], "das": dict(whole), "cas": dict(whole)}


@dataclass
class FakeOrthanc:
    pacs: FakePacs
    node: str
    url: str = ""

    def get(self, path: str) -> Answer:
        return self.pacs.read(self.node, path)


class FakeSite:
    """Stands for `hapacs.site.access.Site`."""

    def __init__(self, pacs: FakePacs, port: int) -> None:
        self.pacs = pacs
        self.nodes = {name: Node(name, "127.0.0.1", "127.0.0.1", "hapacs", 22) for name in ("pacs1", "pacs2")}
        self.caller = Caller("HAPACS_VERIFY")
        self.store_peer = Peer("127.0.0.1", port, "HAPACS", 5)

    def members(self, _group: str) -> list[Node]:
        return list(self.nodes.values())

    def orthanc(self, node: str, _service: str) -> FakeOrthanc:
        return FakeOrthanc(self.pacs, node)

    def hapacs(self, _node: str, _service: str, path: str) -> tuple[int, dict[str, Any]]:
        return self.pacs.record(path.rpartition("/")[2])


@contextmanager
def running(pacs: FakePacs) -> Iterator[Site]:
    """Let the PACS listen on loopback, and return it as a site."""
    entity = AE(ae_title="HAPACS")
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(str(context.abstract_syntax), SYNTAXES)
    entity.add_supported_context(Verification)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, pacs.store)])
    assert server is not None
    try:
        yield cast(Site, FakeSite(pacs, server.server_address[1]))
    finally:
        server.shutdown()
