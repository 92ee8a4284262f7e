"""Finds an image, series or study: index, online copies, archive objects and locks, over all nodes of a site.

The index and the catalog are read on the leader of the database. An image and its copies are then read whole by the
nodes themselves (`hapacs-node`), which also search their journals; of a study the copies are counted, not read.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from hapacs.errors import HapacsError, UsageError
from hapacs.site import node_program
from hapacs.site.access import BUCKET, Node, NodeError, Site
from hapacs.site.database import Database, literal

Level = Literal["study", "series", "image", "object"]

_UID = re.compile(r"[0-9.]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_UNITS = ("haproxy", "orthanc-store", "orthanc-query")
_EVENT_FIELDS = ("HAPACS_SOP", "HAPACS_SERIES", "HAPACS_STUDY", "HAPACS_DIGEST")
_TIMEOUT_S = 120
_WORKERS = 8
_NO_MATCH = 1

_INDEX = """
with named as (
    select id, case when taggroup = 8 then 'image' when tagelement = 13 then 'study' else 'series' end as level
    from dicomidentifiers where value = {uid} and (taggroup, tagelement) in ((8, 24), (32, 13), (32, 14))
), of_series as (
    select s.internalid, n.level from resources s join named n on n.level = 'study' and s.parentid = n.id
    union all select id, level from named where level = 'series'
), image as (
    select r.internalid, r.parentid, s.level from resources r join of_series s on r.parentid = s.internalid
    union all
    select r.internalid, r.parentid, n.level from resources r join named n on n.level = 'image' and r.internalid = n.id
)
select coalesce(json_agg(row_to_json(found)), '[]') from (
    select image.level, study.value as study, series.value as series, sop.value as sop,
        encode(o.digest, 'hex') as digest, o.size, o.key, o.node, o.stored_at
    from image
    join dicomidentifiers sop on sop.id = image.internalid and sop.taggroup = 8 and sop.tagelement = 24
    join dicomidentifiers series on series.id = image.parentid and series.taggroup = 32 and series.tagelement = 14
    join resources parent on parent.internalid = image.parentid
    join dicomidentifiers study on study.id = parent.parentid and study.taggroup = 32 and study.tagelement = 13
    left join attachedfiles file on file.id = image.internalid and file.filetype = 1
    left join hapacs.object o on o.uuid = file.uuid::uuid
    order by study, series, sop
) found
"""


@dataclass(frozen=True)
class Image:
    """One SOP instance, as index and catalog have it.

    Attributes
    ----------
    digest, size, key, node, stored_at
        Values of the stored object; None when the catalog has no row of it.
    """

    study: str
    series: str
    sop: str
    digest: str | None
    size: int | None
    key: str | None
    node: str | None
    stored_at: str | None


@dataclass(frozen=True)
class Lock:
    """The archive's record of one object.

    Attributes
    ----------
    problem
        Why it is not there or not locked; empty when all is well.
    """

    mode: str = ""
    until: str = ""
    problem: str = ""


@dataclass
class Found:
    """A site's records of a UID or digest.

    Attributes
    ----------
    images
        In the index; those of a study or series, or the one.
    online
        For a study or series: the number of images with a file of the right size on the DAS of each node.
    locks
        For a study or series: the archive's objects by key.
    nodes
        For one image or object: the report of each node.
    journal
        Lines of each node's journal, when they were asked for.
    silent
        Nodes that did not answer, each with the reason.
    """

    site: str
    level: Level
    replication: str
    images: list[Image] = field(default_factory=list)
    online: dict[str, int] = field(default_factory=dict)
    locks: dict[str, Lock] = field(default_factory=dict)
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    journal: dict[str, list[str]] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether the site knows the name: in the index, or as a stored or removed object."""
        return bool(self.images) or any(report["objects"] or report.get("events") for report in self.nodes.values())

    @property
    def total_bytes(self) -> int:
        """Size of all images."""
        return sum(image.size or 0 for image in self.images)

    @property
    def by_series(self) -> Mapping[str, int]:
        """Number of images of each series."""
        return Counter(image.series for image in self.images)

    def document(self) -> dict[str, Any]:
        """Describe it for JSON."""
        return {"found": bool(self), **asdict(self), "bytes": self.total_bytes, "series": dict(self.by_series)}


def kind_of(name: str) -> Literal["uid", "digest"]:
    """Distinguish a UID from a digest.

    Raises
    ------
    UsageError
        When it is neither.
    """
    if _UID.fullmatch(name):
        return "uid"
    if _DIGEST.fullmatch(name):
        return "digest"
    raise UsageError(
        f"{name!r} is neither a UID (at most 64 digits and dots) nor a SHA-256 digest (64 hexadecimal digits).",
        "Give the UID of an image, series or study, or the digest of stored bytes.",
    )


def find(site: Site, name: str, *, log: bool = False) -> Found:
    """Look a UID or digest up at one site.

    Parameters
    ----------
    name
        SOP, series or study instance UID, or the SHA-256 digest of stored bytes.
    log
        Also collect the lines of the journals that contain the name.

    Returns
    -------
    Found
        A node that does not answer is in `silent`.
    """
    found = Found(site.name, "object" if kind_of(name) == "digest" else "image", _replication(site))
    if found.level != "object":
        try:
            rows = json.loads(Database.of(site).rows(_INDEX.format(uid=literal(name)))[0])
        except HapacsError as error:
            rows = []
            found.silent["database"] = error.message
        found.level = rows[0].pop("level") if rows else "image"
        found.images = [Image(**{key: value for key, value in row.items() if key != "level"}) for row in rows]
    if found.level in {"study", "series"}:
        _count(site, found)
    else:
        command = "object" if found.level == "object" else "instance"
        found.nodes = _each(site, "pacs", lambda node: _report(site, node, command, name), found.silent)
    if log:
        found.journal = _each(site, "", lambda node: _journal(site, node, name), found.silent)
    return found


def _each[T](site: Site, group: str, ask: Callable[[Node], T], silent: dict[str, str]) -> dict[str, T]:
    """Ask all nodes of a group, or all there are, at the same time."""

    def one(node: Node) -> T | NodeError:
        try:
            return ask(node)
        except NodeError as error:
            return error

    nodes = site.members(group) if group else list(site.nodes.values())
    with ThreadPoolExecutor(len(nodes)) as pool:
        answers = dict(zip((node.name for node in nodes), pool.map(one, nodes), strict=True))
    silent |= {name: answer.message for name, answer in answers.items() if isinstance(answer, NodeError)}
    return {name: answer for name, answer in answers.items() if not isinstance(answer, NodeError)}


def _report(site: Site, node: Node, command: str, name: str) -> dict[str, Any]:
    """Have a node read its copy and the archive's; exit code 1 means that something is missing."""
    words = ("sudo", node_program.PROGRAM, command, name, "--json", "2>&1;", "test", "$?", "-le", "1")
    printed = site.run(node, words, "", _TIMEOUT_S).strip()
    try:
        report: dict[str, Any] = json.loads(printed.splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        raise NodeError(node.name, printed or "hapacs-node printed nothing") from None
    return report


def _journal(site: Site, node: Node, name: str) -> list[str]:
    """Find events by their fields, which journald indexes, and the output of HAProxy and Orthanc by its text."""
    journalctl = ("sudo", "journalctl", "--quiet", "--no-pager", "--utc", "--output=short-iso")
    by_field = " + ".join(f"{field}={name}" for field in _EVENT_FIELDS).split()
    pattern = f"'--grep=(^|[^0-9.]){re.escape(name)}([^0-9.]|$)'"
    # Events have another transport, so that the slow search by text leaves them out.
    by_text = ("_TRANSPORT=stdout", *(f"--unit={unit}" for unit in _UNITS), pattern)
    # It ends with 1 when no line matches.
    allowed = (";", "test", "$?", "-le", str(_NO_MATCH))
    found = [
        line
        for search in (by_field, by_text)
        for line in site.run(node, (*journalctl, *search, *allowed), "", _TIMEOUT_S).splitlines()
    ]
    return sorted(found, key=lambda line: line.split(" ", 1)[0])


def _count(site: Site, found: Found) -> None:
    """Count the online copies of each node, and ask the archive for the lock of each object."""
    sizes = {image.digest: image.size for image in found.images if image.digest is not None}

    def online(node: Node) -> int:
        names = "\n".join(f"/srv/das/sha256/{digest[:2]}/{digest[2:4]}/{digest}" for digest in sizes)
        # A file that is missing is no error.
        command = "'xargs --no-run-if-empty stat --format=%s:%n -- 2>/dev/null; true'"
        lines = site.run(node, ("sudo", "sh", "-c", command), names, _TIMEOUT_S).splitlines()
        there = {line.rpartition("/")[2]: int(line.partition(":")[0]) for line in lines}
        return sum(image.digest is not None and there.get(image.digest) == image.size for image in found.images)

    found.online = _each(site, "pacs", online, found.silent)
    keys = sorted({image.key for image in found.images if image.key is not None})
    # boto3 makes clients in one thread only.
    gateways = [site.s3(node.name, "reader") for node in site.members("cas")]
    with ThreadPoolExecutor(_WORKERS) as pool:
        found.locks = dict(zip(keys, pool.map(lambda key: _lock(gateways, key), keys), strict=True))


def _lock(gateways: Sequence[Any], key: str) -> Lock:
    """Ask the first gateway that answers."""
    problem = ""
    for client in gateways:
        try:
            retention = client.get_object_retention(Bucket=BUCKET, Key=key)["Retention"]
        except ClientError as error:
            return Lock(problem=str(error))
        except BotoCoreError as error:
            problem = str(error)
            continue
        until: datetime = retention["RetainUntilDate"]
        return Lock(str(retention["Mode"]), until.isoformat())
    return Lock(problem=problem)


def _replication(site: Site) -> str:
    """Say how many copies the archive keeps and where (SeaweedFS: other data centers, other racks, same rack)."""
    centers, racks, nodes = (int(digit) for digit in site.contract["policy"]["cas_replication"])
    copies = 1 + centers + racks + nodes
    if copies == 1:
        return "1 copy"
    return f"{copies} copies in different {'zones' if centers or racks else 'nodes of a zone'}"


def ends(locks: Sequence[Lock]) -> str:
    """Return when the first of some locks ends."""
    return min((lock.until for lock in locks if lock.until), default="")
