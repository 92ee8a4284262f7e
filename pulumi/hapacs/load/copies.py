"""Has the archive of a site hash its copies of catalog rows, each volume server its own, and asks for their locks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from hapacs.errors import HapacsError
from hapacs.load.evidence import Copies, Row
from hapacs.services import nodes as services
from hapacs.site.access import BUCKET, Node, NodeError, Site
from hapacs_node.storage import replicas

_TIMEOUT_S = 600
_WORKERS = 4
Chunks = Sequence[Mapping[str, str]]
"""For each chunk of a row what each volume server has of it."""
_NOT_FOUND = {"404", "NoSuchKey", "NoSuchVersion", "MethodNotAllowed"}


@dataclass(frozen=True)
class _Object:
    """The current version of an object and why it is not locked."""

    version: str
    lock: str


class SiteCopies:
    """The copies of a site's archive.

    Parameters
    ----------
    nodes
        Nodes of the archive that run.
    """

    def __init__(self, site: Site, nodes: Sequence[Node]) -> None:
        self._site, self._nodes = site, nodes
        running = {node.name for node in nodes}
        # A node that does not run may have a copy.
        self._absent = [node.name for node in site.members("cas") if node.name not in running]
        # boto3 makes clients in one thread only.
        self._gateways = [site.s3(node.name, "reader") for node in nodes]
        policy = site.contract["policy"]
        self._mode = str(policy["retention_mode"])
        centers, racks, same = (int(digit) for digit in policy["cas_replication"])
        self._wanted, self._zones = 1 + centers + racks + same, 1 + centers + racks

    def of(self, rows: Sequence[Row]) -> Mapping[Row, Copies]:
        """Return what the archive has of each row; nothing of a row whose object does not exist.

        Raises
        ------
        HapacsError
            When the archive does not answer.
        """
        by_key: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_key[str(row.key)].append(row)
        with ThreadPoolExecutor(_WORKERS) as pool:
            objects = dict(zip(by_key, pool.map(self._object, by_key), strict=True))
        known = {key: one for key, one in objects.items() if one is not None}
        wanted = [
            {
                "path": f"/buckets/{BUCKET}/{key}.versions/v_{one.version}",
                "parts": [[row.offset, row.length, row.digest] for row in by_key[key]],
            }
            for key, one in known.items()
        ]
        found: dict[Row, Copies] = {}
        for (key, one), parts in zip(known.items(), self._hashed(wanted), strict=True):
            if parts is None:
                continue
            for row, chunks in zip(by_key[key], parts, strict=True):
                found[row] = self._copies(chunks, one.lock)
        return found

    def _object(self, key: str) -> _Object | None:
        """Ask the first gateway that answers; None when it does not exist."""
        problem = "no gateway runs"
        for client in self._gateways:
            try:
                head = client.head_object(Bucket=BUCKET, Key=key)
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "")
                if code in _NOT_FOUND:
                    return None
                problem = str(error)
            except BotoCoreError as error:
                problem = str(error)
            else:
                return _Object(str(head["VersionId"]), self._lock_problem(head))
        raise HapacsError(f"The archive doesn't answer for {key}: {problem}.", "`hapacs status` says more.")

    def _lock_problem(self, head: Mapping[str, Any]) -> str:
        if "ObjectLockMode" not in head:
            return "no retention"
        if head["ObjectLockMode"] != self._mode:
            return f"retention {head['ObjectLockMode']} instead of {self._mode}"
        until: datetime = head["ObjectLockRetainUntilDate"]
        return "" if until > datetime.now(UTC) else f"the lock ended at {until:%Y-%m-%d %H:%M}"

    def _hashed(self, objects: Sequence[Mapping[str, Any]]) -> list[list[Chunks] | None]:
        """Have the first node that answers read from all volume servers."""
        if not objects:
            return []
        ports = {name: services.port(f"seaweedfs-{name}", "http") for name in ("filer", "volume")}
        arguments = {
            "filers": [f"{node.address}:{ports['filer']}" for node in self._nodes],
            "volumes": {node.name: f"{node.address}:{ports['volume']}" for node in self._nodes},
            "objects": objects,
        }
        problem: NodeError | None = None
        for node in self._nodes:
            try:
                answer: list[list[Chunks] | None] = self._site.run_script(
                    node, Path(replicas.__file__), arguments, root=True, timeout_s=_TIMEOUT_S
                )
            except NodeError as error:
                problem = error
            else:
                return answer
        raise problem or HapacsError("No node of the archive runs.", "`hapacs status` says more.")

    def _copies(self, chunks: Chunks, lock: str) -> Copies:
        """Judge a row by the chunk with the fewest copies: the chunks of an object lie in different volumes."""

        def judged(places: Mapping[str, str]) -> Copies:
            by_state: dict[str, list[str]] = defaultdict(list)
            for name, state in places.items():
                by_state[state].append(name)
            whole, damaged = by_state[replicas.WHOLE], by_state[replicas.DAMAGED]
            silent = [*self._absent, *by_state[replicas.SILENT]]
            zones = {self._site.contract["nodes"][name]["zone"] for name in (*whole, *damaged, *silent)}
            return Copies(whole, damaged, silent, self._wanted, len(zones) >= self._zones, lock)

        def present(one: Copies) -> tuple[int, int, bool]:
            return len(one.whole) + len(one.damaged) + len(one.silent), len(one.whole), one.apart

        each = [judged(places) for places in chunks]
        damaged = list(dict.fromkeys(name for one in each for name in one.damaged))
        return replace(min(each, key=present, default=judged({})), damaged=damaged)
