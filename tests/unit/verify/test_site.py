"""The sites of a deployment as verification sees them: from the contract and the settings alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hapacs.deployment import PROJECT, Deployment
from hapacs.site.access import Site, sites
from hapacs.verify import closed


def deployed(name: str, state: Path) -> list[Site]:
    """Return the sites of a deployment whose golden contract was brought up."""
    deployment = Deployment(name, PROJECT / "inventories" / name, state, state)
    deployment.contract_file.write_text((PROJECT / "tests/contract" / f"{name}.json").read_text(encoding="utf-8"))
    return sites(deployment)


def test_the_primary_site_comes_first(tmp_path: Path) -> None:
    assert [site.name for site in deployed("lab", tmp_path)] == ["primary", "dr"]
    # Whatever the contract's file says first.
    assert list(json.loads((tmp_path / "inventory.json").read_text())["sites"]) == ["dr", "primary"]


def test_each_site_sends_to_the_controller_where_it_sees_it(tmp_path: Path) -> None:
    assert [site.destination[1] for site in deployed("lab", tmp_path)] == ["10.89.77.1", "10.89.76.1"]


@pytest.mark.parametrize(("port", "address"), [(8404, "198.51.100.12"), (5432, "192.0.2.12"), (4242, "192.0.2.12")])
def test_doors_are_knocked_at_where_they_are(tmp_path: Path, port: int, address: str) -> None:
    main, _ = deployed("example-hospital", tmp_path)
    (door,) = [door for door in closed.expected_doors(main, main.nodes["pacs2"], {}) if door["port"] == port]
    assert door["address"] == address
