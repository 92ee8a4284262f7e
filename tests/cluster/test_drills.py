"""Some drills on the lab: none void, nothing lost, corrupted or doubled. `make drills` holds all to their deadlines."""

from __future__ import annotations

import json

import pytest

from tests.cluster.conftest import Lab

pytestmark = [pytest.mark.long, pytest.mark.timeout(15 * 60)]


@pytest.mark.parametrize("name", ["storing-killed", "das-byte-flipped", "database-leader-killed"])
def test_drill_loses_nothing(lab: Lab, name: str) -> None:
    done = lab.hapacs("drill", "run", name, "--deployment", lab.deployment.name, "--seed", "1", "--json")
    assert done.stdout, done.stderr[-2000:]
    (drill,) = json.loads(done.stdout)["drills"]
    assert not drill["void"], f"{drill}\n{done.stderr[-2000:]}"
    assert drill["acknowledged"] > 0
    assert [drill[what] for what in ("lost", "corrupted", "duplicated")] == [0, 0, 0], drill
