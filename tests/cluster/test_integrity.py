"""What keeps the promise between faults, on a lab, each with a ledger: commitment, and places that disagree."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from hapacs.load.archive import SiteArchive
from hapacs.load.check import Reason, check
from hapacs.load.ledger import Entry, Ledger, Series
from hapacs.load.plan import Plan, sender
from hapacs.load.waiting import eventually
from hapacs.site.access import Node
from hapacs.site.database import Database, literal
from hapacs_node.storage import names
from tests.cluster.conftest import Lab
from tests.support.commitment import Modality, ask, associate

pytestmark = pytest.mark.timeout(15 * 60)

_IMAGES = 24
# Reconcile leaves alone what is younger.
_SETTLED_S = 60
_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
_COMMITTED, _WHOLE_S = 1, 300
# Changes the byte behind the first occurrence of some bytes, in the file that was written last. Prints what it changed.
_FLIP = """
import glob, json, mmap, os
wanted = bytes.fromhex(%(wanted)s)
changed = []
for path in sorted(glob.glob(%(files)s), key=os.path.getmtime, reverse=True):
    with open(path, "r+b") as file:
        if os.fstat(file.fileno()).st_size:
            with mmap.mmap(file.fileno(), 0) as content:
                at = content.find(wanted) + len(wanted)
                if at >= len(wanted):
                    content[at] ^= 0xFF
                    content.flush()
                    changed.append(path)
                    break
print(json.dumps(changed))
"""


@pytest.fixture(scope="module")
def ledger(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Generator[Ledger]:
    """Return a ledger of some images that the site has stored."""
    made = Ledger(tmp_path_factory.mktemp("integrity") / "ledger.sqlite")
    plan = Plan(shares={"ct": 1}, ct_rows=256, images=_IMAGES)
    with sender(lab.site, made, plan) as sending:
        eventually("the images are sent", lambda: not sending.running, 120)
    assert made.counts()["acknowledged"] == _IMAGES
    yield made
    made.close()


@pytest.fixture(scope="module")
def entries(ledger: Ledger) -> list[Entry]:
    """Return the images of the ledger."""
    return list(ledger.entries())


@pytest.fixture(scope="module")
def uuids(lab: Lab, entries: list[Entry]) -> list[str]:
    """Return the catalog's name of each image."""
    listed = ", ".join(literal(entry.sop_instance) for entry in entries)
    rows = Database.of(lab.site).rows(f"select sop, uuid from hapacs.instance where sop in ({listed})")  # noqa: S608
    found = dict(row.split("|") for row in rows)
    return [found[entry.sop_instance] for entry in entries]


def problems(lab: Lab, ledger: Ledger) -> dict[str, set[Reason]]:
    """Return what the checker finds wrong, by image."""
    found: dict[str, set[Reason]] = {}
    for problem in check(lab.site, ledger).problems:
        found.setdefault(problem.uid, set()).add(problem.reason)
    return found


def reconcile(lab: Lab, *options: str) -> list[dict[str, Any]]:
    """Compare all places from each node, and return what was found, with the node."""
    words = (
        "sudo",
        "hapacs-node",
        "reconcile",
        "--settled",
        str(_SETTLED_S),
        "--operator",
        "tester",
        "--json",
        *options,
    )
    found = []
    for node in lab.site.members("pacs"):
        # It ends with 1 when something does not agree.
        printed = lab.site.run(node, ("sh", "-c", f"'{' '.join(words)} || test $? = 1'"), "", 120)
        report = json.loads(printed)
        assert report["failure"] is None, report
        found += [one | {"node": node.name} for one in report["findings"]]
    return found


def kinds(findings: list[dict[str, Any]], name: str) -> set[str]:
    """Return the kinds of findings that name something."""
    return {str(one["kind"]) for one in findings if one["name"] == name}


def elsewhere(lab: Lab, entries: list[Entry], node: str) -> set[str]:
    """Return the images that have no copy of the archive on a node."""
    site, found = lab.site, set()
    archive = SiteArchive(site, list(site.nodes))
    for (study, uid, patient), group in itertools.groupby(entries, lambda one: (one.study, one.series, one.patient_id)):
        members = list(group)
        files = archive.rows(Series(study, uid, patient), members).files
        copies = archive.copies([row for rows in files.values() for row in rows])
        found |= {sop for sop, (row, *_) in files.items() if node not in copies[row].whole}
    return found


def test_commitment_is_reported_although_the_node_that_took_the_request_is_off(
    lab: Lab, ledger: Ledger, entries: list[Entry]
) -> None:
    title, host, port = lab.site.destination
    dicom = lab.site.contract["dicom"]
    (took,) = lab.running().writers
    others = elsewhere(lab, entries, took)
    association = associate(dicom["port"], calling=title, called=dicom["store_ae"], host=lab.site.vip)
    assert association.is_established
    asked = {}
    for entry in entries:
        transaction, status, comment = ask(association, (_CT_IMAGE, entry.sop_instance))
        assert status == 0, comment
        asked[transaction] = entry.sop_instance
    association.release()
    reported: set[str] = set()
    try:
        # Nobody has listened for a report yet, so none can have been taken before the node is off.
        lab.switch_off(took)
        with Modality(port, title=title, host=host) as modality:

            def take(until: set[str]) -> None:
                while not until <= reported:
                    report = modality.reports.get(timeout=_WHOLE_S)
                    if report.transaction not in asked:  # of a former run
                        continue
                    sop = asked[report.transaction]
                    assert (report.kind, report.committed, report.failed) == (_COMMITTED, {sop}, {})
                    reported.add(sop)

            take(others)
            # An image with a copy on the node was judged before it was off, or waits for it: none has failed.
            lab.switch_on(took)
            take(set(asked.values()))
    finally:
        lab.switch_on(took)
    eventually("the site is whole", lambda: lab.hapacs("status", lab.deployment.name).returncode == 0, _WHOLE_S, 5)
    assert problems(lab, ledger) == {}


@pytest.fixture
def _no_scrub(lab: Lab) -> Iterator[None]:
    """Let no scrub of a timer begin: it would heal what a test has damaged before that looks."""
    nodes = lab.site.members("pacs")
    for node in nodes:
        lab.site.run(node, ("sudo", "systemctl", "stop", "hapacs-scrub.timer", "hapacs-scrub.service"), "", 60)
    yield
    for node in nodes:
        lab.site.run(node, ("sudo", "systemctl", "start", "hapacs-scrub.timer"), "", 60)


@pytest.mark.usefixtures("_no_scrub")
def test_places_that_disagree_are_found_and_put_right(
    lab: Lab, ledger: Ledger, entries: list[Entry], uuids: list[str]
) -> None:
    database = Database.of(lab.site)
    eventually(
        "the images are old enough",
        lambda: time.time() - max(one.acknowledged_at for one in ledger.acknowledgements()) > _SETTLED_S + 5,
        _SETTLED_S + 30,
    )
    without_row, moved, removed = uuids[:3]
    database.rows(f"create table public.kept as select * from hapacs.object where uuid = {literal(without_row)}")  # noqa: S608
    orphan = b"bytes that no row has"
    s3 = lab.site.s3(lab.site.members("cas")[0].name, "node")
    orphan_key = names.cas_key(names.digest_of(orphan))
    s3.put_object(Bucket="archive", Key=orphan_key, Body=orphan)
    try:
        # An index row without bytes: no row of the catalog says where they are.
        database.rows(
            f"set session_replication_role = replica; delete from hapacs.object where uuid = {literal(without_row)}"  # noqa: S608
        )
        # An archive object that is lost.
        database.rows(f"update hapacs.object set key = key || '.gone' where uuid = {literal(moved)}")  # noqa: S608
        # A tombstone that the index still refers to.
        database.rows(
            f"update hapacs.object set tombstoned_at = now(), tombstoned_by = node where uuid = {literal(removed)}"  # noqa: S608
        )
        found = problems(lab, ledger)
        assert set(found) == {entry.sop_instance for entry in entries[:3]}
        time.sleep(_SETTLED_S)
        findings = reconcile(lab)
        assert kinds(findings, without_row) == {"dangling"}
        assert kinds(findings, moved) == {"archive-missing"}
        assert kinds(findings, removed) == {"removed-in-index"}
        assert kinds(findings, orphan_key) == {"archive-orphan"}
        repaired = reconcile(lab, "--repair", "archive-missing", "--repair", "removed-in-index")
        assert {one["name"] for one in repaired if one.get("repaired")} >= {moved, removed}
        # It is shown, because no command can know where its bytes are, until its row comes back.
        assert set(problems(lab, ledger)) == {entries[0].sop_instance}
    finally:
        database.rows(
            "insert into hapacs.object select * from public.kept on conflict do nothing; drop table public.kept"
        )
    assert problems(lab, ledger) == {}


def flipped(lab: Lab, node: Node, entry: Entry) -> bool:
    """Change a byte of an image in the volumes of a node; return whether it has the image."""
    files = str(Path(lab.site.contract["nodes"][node.name]["data_directory"]) / "cas/volume/*.dat")
    script = _FLIP % {"wanted": repr(entry.sop_instance.encode().hex()), "files": repr(files)}
    return bool(json.loads(lab.site.run(node, ("sudo", "python3", "-"), script, 120)))


@pytest.mark.usefixtures("_no_scrub")
def test_damaged_replica_is_made_again_from_the_whole_one(lab: Lab, ledger: Ledger, entries: list[Entry]) -> None:
    damaged = entries[-2]
    node = next(node for node in lab.site.members("cas") if flipped(lab, node, damaged))
    assert problems(lab, ledger) == {damaged.sop_instance: {Reason.ARCHIVE_DIFFERS}}
    # What was read within 30 days is not read again.
    lab.site.run(node, ("sudo", "rm", "--force", "/var/lib/hapacs/integrity/replicas.json"), "", 30)
    begun = f"--since=@{time.time():.0f}"
    lab.site.run(node, ("sudo", "systemctl", "start", "seaweedfs-scrub"), "", 600)
    said = lab.site.run(node, ("sudo", "journalctl", "--unit=seaweedfs-scrub", "--output=cat", begun), "", 30)
    assert "event=replica_removed volume=" in said, said
    eventually("both copies are whole", lambda: problems(lab, ledger) == {}, 120, 10)


@pytest.mark.long
def test_damage_in_both_copies_of_the_archive_is_healed_from_the_online_copy(
    lab: Lab, ledger: Ledger, entries: list[Entry]
) -> None:
    changed = [node.name for node in lab.site.members("cas") if flipped(lab, node, entries[-1])]
    assert len(changed) == 2, "an image has two copies in the archive"
    assert problems(lab, ledger) == {entries[-1].sop_instance: {Reason.ARCHIVE_DIFFERS}}
    # A node without the online copy leaves the image to the next run of the node that has it.
    for _ in range(2):
        done = lab.hapacs("scrub", lab.deployment.name, "--days", "0", "--rate", "200", "--json")
    assert done.returncode == 0, done.stdout[-2000:]
    assert problems(lab, ledger) == {}
