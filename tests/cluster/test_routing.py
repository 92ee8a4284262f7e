"""Images reach a destination while what sends them is killed, on a lab, with dcmtk's storescp on this machine."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest
from pydicom import dcmread

from hapacs.bench.routing import Subject
from hapacs.dicom import marks
from hapacs.errors import HapacsError
from hapacs.load.ledger import Ledger
from hapacs.load.plan import Plan, sender
from hapacs.load.waiting import eventually
from hapacs.site.access import Node
from hapacs.site.database import Database, literal
from hapacs.site.problems import blocking_problems
from tests.cluster.conftest import Lab
from tests.support.storescp import PROGRAM, StoreScp

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="dcmtk is not installed"),
    pytest.mark.timeout(15 * 60),
]
IMAGES, NAME = 80, "hapacs-test-killed"
# So slow that all of the faults come while images wait: 128 KB each, by two associations.
MB_PER_S = 0.2
_FORGET = "delete from hapacs.task where destination = {0}; delete from hapacs.destination where name = {0}"
_TASKS = "select sop, state, attempts from hapacs.task where destination = {}"
_HOLDER = "select holder from hapacs.task where destination = {} and state = 'in flight' limit 1"


@pytest.fixture
def scp(tmp_path: Path) -> Generator[StoreScp]:
    """Return a destination that writes a file each time that an image arrives."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    server = StoreScp(port, tmp_path / "received", options=("+uf",))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def _sent_by_a_rule(lab: Lab, scp: StoreScp) -> Generator[None]:
    """Load a rule that sends made images to the destination, and those that were there afterwards."""
    found = Subject(lab.site, Database.of(lab.site))
    before = found.rules()
    peer = {"ae_title": "PEER", "host": found.host, "port": scp.port, "associations": 2, "mb_per_s": MB_PER_S}
    mark = {"attribute": "PatientID", "matches": f"{marks.LOAD}.*"}
    found.load({
        "destinations": {NAME: peer},
        "rules": [{"name": NAME, "when": [mark], "destinations": [NAME]}],
    })  # fmt: skip
    yield
    found.load(before)
    rows(lab, _FORGET)


def rows(lab: Lab, sql: str) -> list[str]:
    """Run statements on the database, at its leader of now."""
    try:
        return Database.of(lab.site).rows(sql.format(literal(NAME)))
    except HapacsError as error:
        # There may be no leader now. It is asked again.
        raise OSError(str(error)) from error


def confirmed(lab: Lab) -> dict[str, int]:
    """Return the attempts of each confirmed image."""
    tasks = [row.split("|") for row in rows(lab, _TASKS)]
    return {sop: int(attempts) for sop, state, attempts in tasks if state == "confirmed"}


def arrived(scp: StoreScp) -> Counter[str]:
    """Count how often each image arrived."""
    return Counter(str(dcmread(path, force=True).SOPInstanceUID) for path in scp.directory.iterdir())


def kill(lab: Lab, node: Node, unit: str) -> None:
    """End a unit of a node by SIGKILL. Its service manager starts it again."""
    lab.site.run(node, ("sudo", "systemctl", "kill", "--kill-whom=all", "--signal=KILL", unit), "", 30)


@pytest.mark.long
@pytest.mark.usefixtures("_sent_by_a_rule")
def test_every_image_arrives_and_none_without_a_record(lab: Lab, scp: StoreScp, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    nodes = {node.name: node for node in lab.site.members("pacs")}
    try:
        with sender(lab.site, ledger, Plan(shares={"ct": 1}, ct_rows=256, images=IMAGES)) as sending:
            eventually("images are stored", lambda: not sending.running, 180)
        stored = {entry.sop_instance for entry in ledger.entries()}
        assert ledger.counts()["acknowledged"] == len(stored) == IMAGES
        eventually("the first images arrive", lambda: len(arrived(scp)) > 1, 120)
        for node in nodes.values():
            kill(lab, node, "hapacs-routing")
        before = len(confirmed(lab))
        eventually("they are sent again", lambda: len(confirmed(lab)) > before, 120)
        kill(lab, nodes[lab.running().database_leaders[0]], "patroni")
        before = len(eventually("the database is back", lambda: confirmed(lab), 120))
        eventually("images arrive after the failover", lambda: len(confirmed(lab)) > before, 120)
        assert len(confirmed(lab)) < IMAGES, "all were sent before the last fault"
        holder = eventually("a node sends", lambda: "".join(rows(lab, _HOLDER)), 60)
        sends = holder.partition(":")[0]
        lab.switch_off(sends)
        try:
            eventually("all are confirmed", lambda: len(confirmed(lab)) == IMAGES, 300)
        finally:
            lab.switch_on(sends)
    finally:
        ledger.close()
    attempts, times = confirmed(lab), arrived(scp)
    assert set(attempts) == set(times) == stored
    assert {sop: (times[sop], attempts[sop]) for sop in stored if times[sop] > attempts[sop]} == {}
    eventually("the site is whole", lambda: not blocking_problems(lab.running()), 300, 2)
