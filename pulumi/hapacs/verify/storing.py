"""Checks of storing: C-ECHO, C-STORE, callers, and the stored copies on each node."""

from __future__ import annotations

from collections import Counter

import numpy as np

from hapacs import dicom
from hapacs.dicom import AssociationRefusedError, Caller, DicomError, Peer, compare, files
from hapacs.site.access import Site
from hapacs.verify.report import CheckFailedError, listed, require
from hapacs.verify.round_trip import RoundTrip, dataset_problem

_NOBODY = "HAPACS_NOBODY"
_WRONG_CALLED = "HAPACS_WRONG"


def check_echo(site: Site) -> str:
    """Both titles answer at the virtual address, in the clear and by TLS."""
    dicom.echo(site.caller, site.store_peer)
    dicom.echo(site.caller, site.query_peer)
    tls_port = site.contract["dicom"]["tls_port"]
    secure = Caller(site.caller.ae_title, site.tls("edge", client=True))
    for peer in (site.store_peer, site.query_peer):
        dicom.echo(secure, Peer(peer.host, tls_port, peer.ae_title))
    return f"{site.store_peer.ae_title} and {site.query_peer.ae_title} answer at {site.vip}, also by TLS"


def check_store(round_trip: RoundTrip) -> str:
    """Every file is stored, except those that a PACS has to refuse; these are refused."""
    problems = []
    refused: Counter[str] = Counter()
    stored = 0
    for outcome in round_trip.outcomes:
        sample = outcome.sample
        if outcome.stored and sample.refusal:
            problems.append(f"{sample.name} was stored, but {sample.refusal}")
        elif outcome.stored:
            stored += 1
        elif sample.refusal:
            refused[sample.refusal] += 1
        else:
            status = "" if outcome.status is None else f"status 0x{outcome.status:04X} "
            kind = f"{sample.sop_class.name}, {sample.transfer_syntax.name}"
            problems.append(f"{sample.name} ({kind}) was refused: {status}{outcome.detail}")
    if not stored:
        problems.insert(0, "no file was stored")
    require(problems)
    unsendable = Counter(item.reason.partition(":")[0] for item in round_trip.skipped)
    expected = [f"{count} {reason.partition(':')[0]}" for reason, count in refused.most_common()]
    expected += [f"{count} {reason}" for reason, count in unsendable.most_common()]
    detail = f"{stored} files stored"
    return f"{detail}; refused or not sendable, as expected: {', '.join(expected)}" if expected else detail


def check_nodes(site: Site, round_trip: RoundTrip) -> str:
    """Each node returns the same bytes of each instance, with the values that were sent."""
    problems = []
    identical = 0
    for kept in round_trip.kept:
        problems += kept.problems
        if len(set(kept.digests.values())) > 1:
            problems.append(f"{kept.sample.name} differs between nodes: {kept.digests}")
        if kept.content:
            encoded = files.split(kept.content)
            identical += encoded == kept.sample.dataset_bytes
            if problem := dataset_problem(kept.sample, encoded, kept.content):
                problems.append(problem)
    _some(round_trip)
    require(problems)
    rest = len(round_trip.kept) - identical
    encoded_again = f", {rest} encoded again with equal values" if rest else ""
    return (
        f"{len(round_trip.kept)} instances are the same through {len(site.members('pacs'))} nodes; "
        f"{identical} data sets are the bytes that were sent{encoded_again}"
    )


def check_pixels(round_trip: RoundTrip) -> str:
    """Compare the decoded pixels with those that were sent."""
    problems = []
    decoded = compared = 0
    for kept in round_trip.kept:
        sent, back = kept.sample.dataset(), files.decode(kept.content) if kept.content else None
        if "PixelData" not in sent:
            continue
        if back is None or "PixelData" not in back:
            problems.append(f"{kept.sample.name} came back without pixel data")
            continue
        before, after = compare.pixels(sent), compare.pixels(back)
        if before is None:
            # No decoder is installed for it: then the encoded pixels have to be equal.
            same = sent.PixelData == back.PixelData
            compared += same
        else:
            same = after is not None and np.array_equal(before, after)
            decoded += same
        if not same:
            problems.append(f"{kept.sample.name} came back with other pixels")
    if not decoded:
        problems.insert(0, "no image could be decoded and compared")
    require(problems)
    return f"{decoded} images decoded and equal" + (f", {compared} compared as encoded" if compared else "")


def check_copies(round_trip: RoundTrip) -> str:
    """Each stored object has an acknowledged row in the catalog and a whole copy on the DAS of its node."""
    _some(round_trip)
    problems = []
    nodes: set[str] = set()
    for kept in round_trip.kept:
        name, record = kept.sample.name, kept.record
        if record is None:
            problems.append(f"{name}: the catalog has no row for {kept.digest}")
            continue
        rows = [row for row in record["catalog"] if row["acknowledged"] and row["tombstoned_at"] is None]
        if not rows:
            problems.append(f"{name}: no row of the catalog is acknowledged by the index")
        nodes |= {row["node"] for row in rows}
        if any(row["size"] != len(kept.content) for row in rows):
            problems.append(f"{name}: the catalog has another size than the {len(kept.content)} bytes that were read")
        if not record["das"]["whole"]:
            problems.append(f"{name}: the copy on the DAS of {record['node']} is {record['das']['state']}")
        if not record["cas"]["whole"]:
            problems.append(f"{name}: the copy in the archive is {record['cas']['state']} as {record['node']} sees it")
    require(problems)
    return f"{len(round_trip.kept)} objects are in the catalog and on a DAS; stored by {', '.join(sorted(nodes))}"


def check_callers(site: Site) -> str:
    """Unlisted callers and calls to a foreign AE title get no association."""
    problems = []
    unlisted = Caller(_NOBODY)
    attempts = [
        (unlisted, site.store_peer, "an unlisted caller"),
        (unlisted, site.query_peer, "an unlisted caller"),
        (site.caller, Peer(site.vip, site.store_peer.port, _WRONG_CALLED), "a call to a title that is not the site's"),
    ]
    for caller, peer, what in attempts:
        try:
            dicom.echo(caller, peer)
        except AssociationRefusedError:
            continue
        except DicomError as error:
            problems.append(
                f"{what} ({caller.ae_title} to {peer.ae_title}) got no answer instead of a refusal: {error.message}"
            )
        else:
            problems.append(f"{what} ({caller.ae_title} to {peer.ae_title}) was served")
    require(problems)
    return f"{_NOBODY} and calls to {_WRONG_CALLED} are refused"


def _some(round_trip: RoundTrip) -> None:
    if not round_trip.kept:
        raise CheckFailedError(f"no file was stored: {listed([outcome.detail for outcome in round_trip.outcomes], 1)}")
