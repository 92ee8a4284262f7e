"""Runs on a node of the archive: hashes the copies of objects on each volume server, and prints the result as JSON.

The filer says which chunks an object has; each chunk is then read from every volume server by its identifier, so that a
damaged copy is seen although reads through the gateway choose a whole one. Only the standard library is used.
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


def copy(
    servers: Servers, address: str, volumes: set[str] | None, found: list[dict[str, Any]], parts: list[list[Any]]
) -> str | list[bool]:
    """Read the chunks from one volume server and hash the parts.

    Parameters
    ----------
    volumes
        What `held` returns: a server passes a request for another volume on to one that has it.

    Returns
    -------
    str or list of bool
        Whether each part has its digest; ``missing``, ``damaged`` or ``silent`` when there is nothing to hash.
    """
    if volumes is None:
        return "silent"
    if not {chunk["file_id"].partition(",")[0] for chunk in found} <= volumes:
        return "missing"
    hashes = [hashlib.sha256() for _ in parts]
    for chunk in found:
        start = chunk.get("offset", 0)
        try:
            # Without this a busy server passes the request on to another one that has the volume.
            status, body = servers.get(address, f"/{chunk['file_id']}?proxied=true", {})
        except (OSError, http.client.HTTPException):
            return "silent"
        if status == _NOT_FOUND:
            return "missing"
        if status not in {_FOUND, _PARTIAL} or len(body) != chunk["size"]:
            return "damaged"
        for digest, (offset, length, _) in zip(hashes, parts, strict=True):
            first, last = max(offset - start, 0), min(offset + length - start, len(body))
            if first < last:
                digest.update(body[first:last])
    return [digest.hexdigest() == wanted for digest, (_, _, wanted) in zip(hashes, parts, strict=True)]


def look(arguments: dict[str, Any], servers: Servers, key: str) -> list[dict[str, Any] | None]:
    """Hash the copies of each object on each volume server; None for an object that the filer does not have."""
    volumes = {name: held(servers, address) for name, address in arguments["volumes"].items()}

    def one(wanted: dict[str, Any]) -> dict[str, Any] | None:
        found = chunks(servers, arguments["filers"], key, wanted["path"])
        if found is None:
            return None
        return {
            name: copy(servers, address, volumes[name], found, wanted["parts"])
            for name, address in arguments["volumes"].items()
        }

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
