"""Stores real files through the virtual address and reads each back through every node.

Files of the same instance are stored one after the other; each is read back before the next one replaces it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from hapacs import dicom
from hapacs.dicom import NotSendable, Sample, StoreOutcome, compare, files, marks
from hapacs.site.access import Site

# An association is sequential; with two of them neither this machine nor the writer is idle.
_ASSOCIATIONS = 2
_READERS = 6
_ATTEMPTS = 8


@dataclass
class Kept:
    """A file that the site acknowledged, as the site returns it.

    Attributes
    ----------
    content
        The stored bytes, as the first node that has them returned them.
    digests
        SHA-256 of what each node returned.
    problems
        Errors of nodes.
    record
        The storage plugin's record of the object: catalog rows, DAS and CAS copies. None when there is none.
    """

    sample: Sample
    content: bytes = b""
    digests: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    record: dict[str, Any] | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the stored bytes."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass
class RoundTrip:
    """Outcome of all files.

    Attributes
    ----------
    skipped
        Files that can't be sent by C-STORE, each with its reason.
    outcomes
        One for each C-STORE, in the order in which they were sent.
    kept
        One for each file that was acknowledged.
    """

    skipped: list[NotSendable]
    outcomes: list[StoreOutcome] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)

    @property
    def present(self) -> list[Kept]:
        """Files that are stored now: for each instance the last file."""
        return list({kept.sample.key: kept for kept in self.kept}.values())


def orthanc_id(sample: Sample) -> str:
    """Return Orthanc's identifier of an instance (Orthanc Book, "Orthanc identifiers")."""
    digest = hashlib.sha1("|".join(sample.key).encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))


def rounds(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """Split a list so that no part has two files of the same instance; the order of such files is kept."""
    left = list(samples)
    while left:
        seen: dict[tuple[str, str, str, str], Sample] = {}
        later = []
        for sample in left:
            if sample.key in seen:
                later.append(sample)
            else:
                seen[sample.key] = sample
        yield list(seen.values())
        left = later


def originals() -> tuple[list[Sample], list[NotSendable]]:
    """Read the files that pydicom ships."""
    read = [dicom.read_sample(path) for path in files.shipped_with_pydicom()]
    samples = [item for item in read if isinstance(item, Sample)]
    return samples, [item for item in read if isinstance(item, NotSendable)]


def load(directory: Path) -> tuple[list[Sample], list[NotSendable]]:
    """Copy the files that pydicom ships, with marked patients; files that the site has to refuse come last.

    Parameters
    ----------
    directory
        Directory for the copies; they are read later.
    """
    found, skipped = originals()
    # Different folders, because some files have the same name.
    copies = [
        dicom.read_sample(files.write_marked(sample, marks.VERIFY, directory / str(number) / sample.name))
        for number, sample in enumerate(found)
    ]
    samples = [copy for copy in copies if isinstance(copy, Sample)]
    skipped += [copy for copy in copies if isinstance(copy, NotSendable)]
    return sorted(samples, key=lambda sample: bool(sample.refusal)), skipped


def run(site: Site, directory: Path) -> RoundTrip:
    """Send all files, and read each back through each node.

    Parameters
    ----------
    directory
        Directory for the sent files; the result needs them.
    """
    samples, skipped = load(directory)
    round_trip = RoundTrip(skipped)
    with ThreadPoolExecutor(max_workers=_READERS) as pool:
        for part in rounds(samples):
            outcomes = send(site, part)
            round_trip.outcomes += outcomes
            stored = [outcome.sample for outcome in outcomes if outcome.stored and not outcome.sample.refusal]
            round_trip.kept += pool.map(lambda sample: read_back(site, sample), stored)
    return round_trip


def send(site: Site, samples: Sequence[Sample]) -> list[StoreOutcome]:
    """Store files by a few associations at the same time, and return the outcomes in the order of the files."""
    shares = [samples[start::_ASSOCIATIONS] for start in range(_ASSOCIATIONS)]
    with ThreadPoolExecutor(max_workers=_ASSOCIATIONS) as pool:
        answered = pool.map(lambda share: dicom.store(site.caller, site.store_peer, share), shares)
        by_path = {outcome.sample.path: outcome for share in answered for outcome in share}
    return [by_path[sample.path] for sample in samples]


def read_back(site: Site, sample: Sample) -> Kept:
    """Read an instance through the answering Orthanc of each node, and ask where its copies are."""
    kept = Kept(sample)
    for node in site.members("pacs"):
        content, problem = read(site, node.name, sample)
        if problem:
            kept.problems.append(problem)
            continue
        kept.content = kept.content or content
        kept.digests[node.name] = hashlib.sha256(content).hexdigest()
    if kept.content:
        kept.record = find_record(site, kept)
    return kept


def read(site: Site, node: str, sample: Sample) -> tuple[bytes, str]:
    """Read an instance through the answering Orthanc of one node; return the file, or the problem.

    After a failover of the database each of Orthanc's connections answers 503 once before it reconnects. The balancer
    repeats the request then, and so does this function.
    """
    client = site.orthanc(node, "query")
    for _ in range(_ATTEMPTS):
        try:
            answer = client.get(f"{client.url}/instances/{orthanc_id(sample)}/file")
        except httpx.HTTPError as error:
            return b"", f"{sample.name} through {node}: {error}"
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
    if answer.status_code != httpx.codes.OK:
        return b"", f"{sample.name} through {node}: status {answer.status_code}"
    return answer.content, ""


def find_record(site: Site, kept: Kept) -> dict[str, Any] | None:
    """Ask the plugin for an object; the node that stored it knows its own DAS."""
    first = site.members("pacs")[0].name
    try:
        record = _record(site, first, kept.digest)
        if record is not None:
            storing = {row["node"] for row in record["catalog"] if row["acknowledged"]} & set(site.nodes)
            if storing and first not in storing:
                record = _record(site, min(storing), kept.digest)
    except httpx.HTTPError as error:
        kept.problems.append(f"{kept.sample.name}: the storage plugin does not answer: {error}")
        return None
    return record


def _record(site: Site, node: str, digest: str) -> dict[str, Any] | None:
    status, document = site.hapacs(node, "query", f"objects/{digest}")
    return document if status == httpx.codes.OK else None


def dataset_problem(sample: Sample, encoded: bytes, content: bytes) -> str:
    """Return how a retrieved data set differs from the one that was sent; empty when they are equal.

    Parameters
    ----------
    encoded
        The data set alone.
    content
        The same data set as a whole file.
    """
    if encoded == sample.dataset_bytes:
        return ""
    found = compare.differences(sample.dataset(), files.decode(content))
    return f"{sample.name}: {', '.join(found[:3])}" if found else ""
