"""The database's leader loses its power in the middle of a backup: the next backup and a restore work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hapacs.load.waiting import eventually
from hapacs.site.backup import Keeper
from hapacs.site.collect import collect
from hapacs.site.problems import blocking_problems
from tests.cluster.conftest import Lab

pytestmark = [pytest.mark.long, pytest.mark.timeout(30 * 60)]


def test_backup_and_restore_work_after_the_leader_was_lost_in_one(lab: Lab) -> None:
    name = lab.deployment.name
    assert lab.hapacs("backup", "now", name).returncode == 0
    keeper = Keeper.of(lab.site, lab.sites)

    def copies() -> bool:
        found = keeper.home.run(keeper.node, ("pgrep", "-fc", "'pgbackrest.*[b]ackup'", "||", "true"), "", 20)
        return int(found.split()[0]) > 0

    (leader,) = lab.running().database_leaders
    command = [str(Path(sys.executable).parent / "hapacs"), "backup", "now", name, "--type", "full"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as second:
        eventually("a backup is made", copies, 120, 0.2)
        lab.switch_off(leader)
        printed, _ = second.communicate(timeout=900)
    # It failed when the leader was lost before its end, or went on from a standby.
    assert second.returncode in {0, 1}, printed
    try:
        eventually("another one leads", lambda: lab.running().database_leaders not in ([], [leader]), 120, 2)
        # From the backup before, over the change of the timeline.
        rehearsed = lab.hapacs("restore", name, "--rehearse")
        assert rehearsed.returncode == 0, rehearsed.stdout + rehearsed.stderr
        third = lab.hapacs("backup", "now", name)
        assert third.returncode == 0, third.stdout + third.stderr
    finally:
        lab.switch_on(leader)
    eventually("the site is whole", lambda: not blocking_problems(collect(lab.site)), 300, 5)
    assert lab.hapacs("restore", name, "--rehearse").returncode == 0
