"""A second site on loopback: it takes copies by STOW-RS, says what it keeps, and misbehaves where a test wants it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

from hapacs.pki import Authority
from hapacs_node.https import Handler, Listener, Server
from hapacs_node.record import identity
from hapacs_node.replication.names import PATH, SITE, TOMBSTONES_PATH
from hapacs_node.routing.peer import Access, Identity
from hapacs_node.stow.body import Body, boundary, parts
from tests.unit.node.certificates import certificate

MOST = 1 << 30


@dataclass
class SecondSite:
    """What it keeps, by SOP Instance UID, and its faults.

    Attributes
    ----------
    kept
        The bytes that it keeps.
    came
        How often each image came.
    refused
        UIDs that are refused with a failure reason.
    altered
        UIDs of which other bytes are kept than came.
    forgotten
        UIDs that are said to be stored, and are not.
    problems
        What is wrong with copies, by UID.
    unlocked
        Whether archive objects have no lock.
    lost
        Answers to stores that are lost after the images are kept.
    silent
        Questions without an answer.
    hangs
        Requests wait for this event, if it is given.
    requests
        Number of images of each store.
    deleted
        UIDs of images that it was told to delete, whether it had them or not.
    meanwhile
        Called before a message about deletions is answered.
    says
        What it says that it is; None for no answer.
    heard
        What the other site said to it.
    """

    url: str
    access: Access
    kept: dict[str, bytes] = field(default_factory=dict)
    came: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    altered: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    problems: dict[str, str] = field(default_factory=dict)
    unlocked: bool = False
    lost: int = 0
    silent: int = 0
    status: HTTPStatus | None = None
    hangs: threading.Event | None = None
    requests: list[int] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    meanwhile: Callable[[], None] | None = None
    says: dict[str, Any] | None = None
    heard: list[dict[str, Any]] = field(default_factory=list)

    def store(self, content: bytes) -> tuple[str, int]:
        """Keep an image; return its UID and zero, or the failure reason."""
        sop = identity.of(content).sop or ""
        self.came[sop] = self.came.get(sop, 0) + 1
        if sop in self.refused:
            return sop, self.refused[sop]
        if sop not in self.forgotten:
            self.kept[sop] = content + b"\0\0" if sop in self.altered else content
        return sop, 0

    def delete(self, sop: str, digest: str) -> str:
        """Delete an image that has these bytes; return what came of it."""
        self.deleted.append(sop)
        if sop not in self.kept:
            return "absent"
        if hashlib.sha256(self.kept[sop]).hexdigest() != digest:
            return "other"
        del self.kept[sop]
        return "removed"

    def replicas(self, sop: str) -> list[dict[str, Any]]:
        """Return what it keeps of an image."""
        if sop not in self.kept:
            return []
        content = self.kept[sop]
        until = None if self.unlocked else (datetime.now(UTC) + timedelta(days=1)).isoformat()
        digest = hashlib.sha256(content).hexdigest()
        problem = self.problems.get(sop, "")
        return [{"digest": digest, "size": len(content), "locked_until": until, "problem": problem}]


class _Server(Server):
    def __init__(self, listener: Listener, site: SecondSite) -> None:
        self.site = site
        super().__init__(listener, _Request)


class _Request(Handler):
    server: _Server
    allowed = "POST"

    def do_POST(self) -> None:  # noqa: N802 - the library's name
        site = self.server.site
        self.close_connection = True
        if site.hangs is not None:
            site.hangs.wait(60)
            return
        body = Body.of(self.rfile, self.headers, MOST)
        if site.status is not None:
            while body.read():
                pass
            self.refuse(site.status, "as the test wants it")
        elif self.path == PATH:
            self._say(site, body)
        elif self.path == TOMBSTONES_PATH:
            told = json.loads(_all(body))["images"]
            if site.meanwhile is not None:
                site.meanwhile()
            self._answer({"outcomes": [site.delete(one["sop"], one["digest"]) for one in told]}, "application/json")
        elif self.path == SITE:
            site.heard.append(json.loads(_all(body)))
            if site.says is not None:
                self._answer(site.says, "application/json")
        else:
            self._take(site, body)

    def _take(self, site: SecondSite, body: Body) -> None:
        outcomes = [site.store(part.content) for part in parts(body, boundary(self.headers["Content-Type"]))]
        site.requests.append(len(outcomes))
        if site.lost:
            site.lost -= 1
            return
        answer: dict[str, Any] = {}
        for sop, reason in outcomes:
            item = {"00081155": {"vr": "UI", "Value": [sop]}}
            if reason:
                item["00081197"] = {"vr": "US", "Value": [reason]}  # type: ignore[list-item] # a number
            sequence = answer.setdefault("00081198" if reason else "00081199", {"vr": "SQ", "Value": []})
            sequence["Value"].append(item)
        self._answer(answer, "application/dicom+json")

    def _say(self, site: SecondSite, body: Body) -> None:
        wanted = json.loads(_all(body))["instances"]
        site.asked.append(wanted)
        if site.silent:
            site.silent -= 1
            return
        self._answer({"replicas": {sop: site.replicas(sop) for sop in wanted}}, "application/json")

    def _answer(self, document: dict[str, Any], kind: str) -> None:
        content = json.dumps(document).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _all(body: Body) -> bytes:
    content = b""
    while piece := body.read():
        content += piece
    return content


@contextmanager
def second_site(directory: Path) -> Iterator[SecondSite]:
    """Run a second site with certificates of its own authority."""
    authority = Authority(directory / "pki", "replica", "passphrase-of-the-test")
    authority.ensure()
    signed, key = certificate(authority, directory, "dr1", "server")
    client, client_key = certificate(authority, directory, "pacs1", "client")
    site = SecondSite("", Access(Identity(client, client_key, authority.certificate_file)))
    server = _Server(Listener("127.0.0.1", 0, signed, key, authority.certificate_file), site)
    site.url = f"https://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.1,))
    thread.start()
    try:
        yield site
    finally:
        if site.hangs is not None:
            site.hangs.set()
        server.shutdown()
        server.server_close()
        thread.join()
