"""Hashes the copies of archive objects on each volume server, past the gateways.

The filer says which chunks an object has; each chunk is then read from every volume server by its identifier, so that a
damaged copy is seen although reads through the gateway choose a whole one.

`hapacs load check` also runs this file as a script on a node of the archive, where this package may be missing. So only
the standard library is used.
"""

import base64
import hashlib
import hmac
import http.client
import json
import ssl
import sys
import threading
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

CONFIGURATION = Path("/etc/seaweedfs")
_TIMEOUT_S = 20
_WORKERS = 4
_FOUND, _PARTIAL, _NOT_FOUND = 200, 206, 404
_TOKEN_S = 60
WHOLE, DAMAGED, MISSING, SILENT = "whole", "damaged", "missing", "silent"
# Of the different bytes that servers have of the chunks of a part: one is the rule, two with one damaged copy.
_COMBINATIONS = 64


def token(key: str) -> str:
    """Sign a short-lived token that lets the filer's metadata be read (RFC 7519, HS256)."""

    def encoded(part: bytes) -> bytes:
        return base64.urlsafe_b64encode(part).rstrip(b"=")

    claims = json.dumps({"exp": int(time.time()) + _TOKEN_S}).encode()
    signed = encoded(b'{"alg":"HS256","typ":"JWT"}') + b"." + encoded(claims)
    return (signed + b"." + encoded(hmac.new(key.encode(), signed, hashlib.sha256).digest())).decode()


class Servers:
    """Connections to filers and volume servers, one to each for every thread."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context, self._mine = context, threading.local()

    def get(self, address: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        """Return the status and the body; OSError or HTTPException when there is no answer."""
        connections = self._mine.__dict__.setdefault("connections", {})
        kept = address in connections
        if not kept:
            connections[address] = self._connection(address)
        try:
            connections[address].request("GET", path, headers=headers)
            answer = connections[address].getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            connections.pop(address).close()
            if not kept:
                raise
        # The server may have closed a connection that was idle.
        return self.get(address, path, headers)

    def _connection(self, address: str) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(address, timeout=_TIMEOUT_S)
        return http.client.HTTPSConnection(address, timeout=_TIMEOUT_S, context=self._context)


def chunks(servers: Servers, filers: list[str], key: str, path: str) -> list[dict[str, Any]] | None:
    """Ask the filers for the chunks of an object, in their order; None when it does not exist."""
    headers = {"Authorization": f"Bearer {token(key)}"} if key else {}
    problem = "no filer was named"
    for filer in filers:
        try:
            status, body = servers.get(filer, f"{path}?metadata=true", headers)
        except (OSError, http.client.HTTPException) as error:
            problem = f"{filer}: {error}"
            continue
        if status == _FOUND:
            found = json.loads(body)["chunks"] or []
            return sorted(found, key=lambda chunk: chunk.get("offset", 0))
        if status == _NOT_FOUND:
            return None
        problem = f"{filer} answers {status}"
    raise OSError(problem)


def held(servers: Servers, address: str) -> set[str] | None:
    """Return the volumes that a server has; None when it does not answer."""
    try:
        status, body = servers.get(address, "/status", {})
    except (OSError, http.client.HTTPException):
        return None
    if status != _FOUND:
        return None
    return {str(volume["Id"]) for volume in json.loads(body)["Volumes"] or []}


def read(servers: Servers, address: str, volumes: set[str] | None, chunk: dict[str, Any]) -> bytes | str:
    """Read a chunk from one volume server.

    Parameters
    ----------
    volumes
        What `held` returns: a server passes a request for another volume on to one that has it.

    Returns
    -------
    bytes or str
        Its bytes; ``missing``, ``damaged`` or ``silent`` when there are none.
    """
    if volumes is None:
        return SILENT
    if chunk["file_id"].partition(",")[0] not in volumes:
        return MISSING
    try:
        # Without this a busy server passes the request on to another one that has the volume.
        status, body = servers.get(address, f"/{chunk['file_id']}?proxied=true", {})
    except (OSError, http.client.HTTPException):
        return SILENT
    if status == _NOT_FOUND:
        return MISSING
    return body if status in {_FOUND, _PARTIAL} and len(body) == chunk["size"] else DAMAGED


class Part:
    """Bytes of an object that belong together, hashed while the chunks of the object are read.

    The chunks of an object lie in different volumes, so no server needs to have them all: each chunk is judged for
    itself. Where servers have different bytes, the hash goes on with each of them, and the digest says which are right.
    """

    def __init__(self, offset: int, length: int, digest: str) -> None:
        self._first, self._end, self._digest = offset, offset + length, digest
        # Which of the different bytes of each chunk were hashed, by their number.
        self._hashes: list[tuple[Any, tuple[int, ...]]] = [(hashlib.sha256(), ())]
        self._chunks: list[dict[str, int | str]] = []

    def take(self, start: int, size: int, contents: dict[str, bytes | str]) -> None:
        """Go on with what each server has of the next chunk, which is at `start` of the object."""
        first, last = max(self._first - start, 0), min(self._end - start, size)
        if first >= last:
            return
        pieces = {name: held if isinstance(held, str) else held[first:last] for name, held in contents.items()}
        different = list(dict.fromkeys(piece for piece in pieces.values() if isinstance(piece, bytes)))
        self._hashes = [
            (_continued(hashed, piece), (*chosen, number))
            for hashed, chosen in self._hashes
            for number, piece in enumerate(different)
        ][:_COMBINATIONS]
        self._chunks.append(
            {name: piece if isinstance(piece, str) else different.index(piece) for name, piece in pieces.items()}
        )

    def copies(self) -> list[dict[str, str]]:
        """Return what each server has of each chunk: ``whole``, ``damaged``, ``missing`` or ``silent``."""
        right = next((chosen for hashed, chosen in self._hashes if hashed.hexdigest() == self._digest), ())

        def state(number: int, held: int | str) -> str:
            if isinstance(held, str):
                return held
            return WHOLE if right and right[number] == held else DAMAGED

        return [
            {name: state(number, held) for name, held in chunk.items()} for number, chunk in enumerate(self._chunks)
        ]


def _continued(hashed: Any, piece: bytes) -> Any:
    following = hashed.copy()
    following.update(piece)
    return following


def look(arguments: dict[str, Any], servers: Servers, key: str) -> list[list[list[dict[str, str]]] | None]:
    """Hash the copies of each object on each volume server.

    Returns
    -------
    list
        For each object its parts, for each part its chunks, for each chunk what each server has; None for an object
        that the filer does not have.
    """
    volumes = {name: held(servers, address) for name, address in arguments["volumes"].items()}

    def one(wanted: dict[str, Any]) -> list[list[dict[str, str]]] | None:
        found = chunks(servers, arguments["filers"], key, wanted["path"])
        if found is None:
            return None
        parts = [Part(offset, length, digest) for offset, length, digest in wanted["parts"]]
        for chunk in found:
            contents = {
                name: read(servers, address, volumes[name], chunk) for name, address in arguments["volumes"].items()
            }
            for part in parts:
                part.take(chunk.get("offset", 0), chunk["size"], contents)
        return [part.copies() for part in parts]

    with ThreadPoolExecutor(_WORKERS) as pool:
        return list(pool.map(one, arguments["objects"]))


def main() -> None:
    """Read what is wanted from the command line."""
    settings = tomllib.loads((CONFIGURATION / "security.toml").read_text(encoding="utf-8"))
    tls = CONFIGURATION / "tls"
    context = ssl.create_default_context(cafile=str(tls / "ca-cas.crt"))
    # The certificates of the archive carry the component's name (ADR 7).
    context.check_hostname = False
    context.load_cert_chain(tls / "node.crt", tls / "node.key")
    key = settings["jwt"]["filer_signing"]["read"]["key"]
    json.dump(look(json.loads(sys.argv[1]), Servers(context), key), sys.stdout)


if __name__ == "__main__":
    main()
