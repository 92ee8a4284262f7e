"""A site with separate nodes for each group: the machines, and check mode of every role."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
import yaml

from hapacs import backport, image, playbook, secrets, ssh, wheelhouse
from hapacs.deployment import PROJECT, Deployment
from hapacs.engine import Engine
from tests.sites import made

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"),
    pytest.mark.skipif(shutil.which("podman") is None, reason="the lab needs podman"),
    pytest.mark.timeout(30 * 60),
]

SETTINGS = PROJECT / "tests/contract/settings/split.yaml"


@pytest.fixture(scope="module")
def split() -> Iterator[Deployment]:
    """The site's machines, not configured yet."""
    with made.removed_at_the_end(made.write(yaml.safe_load(SETTINGS.read_text(encoding="utf-8")))) as deployment:
        ssh.make_key(deployment.ssh_key, deployment.name)
        secrets.ensure(deployment)
        wheelhouse.ensure()
        backport.ensure()
        image.ensure()
        Engine(deployment).up()
        yield deployment


def test_check_mode_works_for_every_role_and_node(split: Deployment) -> None:
    outcome = playbook.run(
        "site",
        inventory=split.directory,
        logs=split.logs,
        variables={"hapacs_image_id": image.identifier(), **image.package_variables()},
        environment=split.environment(),
        options=("--check",),
    )
    assert set(outcome.recap) == set(split.settings.sites["primary"].nodes)
    assert {host: (counts["failed"], counts["unreachable"]) for host, counts in outcome.recap.items()} == dict.fromkeys(
        outcome.recap, (0, 0)
    )
    # Check mode on bare machines reports the changes for each.
    assert all(counts["changed"] > 0 for counts in outcome.recap.values())
