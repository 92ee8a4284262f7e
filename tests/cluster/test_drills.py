"""A few drills on the lab: each has to be ok, and none void."""

from __future__ import annotations

import json

import pytest

from tests.cluster.conftest import Lab

DRILLS = ("storing-killed", "das-byte-flipped", "database-leader-killed")

pytestmark = pytest.mark.timeout(15 * 60)


@pytest.mark.parametrize("name", DRILLS)
def test_drill_is_ok(lab: Lab, name: str) -> None:
    done = lab.hapacs("drill", "run", name, "--deployment", lab.deployment.name, "--seed", "1", "--json")
    (drill,) = json.loads(done.stdout)["drills"]
    assert drill["ok"], f"{drill}\n{done.stderr[-2000:]}"
    assert done.returncode == 0
    assert not drill["void"]
    assert drill["acknowledged"] > 0
