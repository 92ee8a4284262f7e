"""The sites of a deployment as verification sees them: from the contract and the settings alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hapacs.deployment import PROJECT, Deployment
from hapacs.site.access import Site, sites
from hapacs.verify import unauthorized


def deployed(name: str, state: Path) -> list[Site]:
    """Return the sites of a deployment whose golden contract was brought up."""
    deployment = Deployment(name, PROJECT / "inventories" / name, state, state)
    deployment.contract_file.write_text((PROJECT / "tests/contract" / f"{name}.json").read_text(encoding="utf-8"))
    return sites(deployment)


def test_the_primary_site_comes_first(tmp_path: Path) -> None:
    assert [site.name for site in deployed("lab", tmp_path)] == ["primary", "dr"]
    # Whatever the contract's file says first.
    assert list(json.loads((tmp_path / "inventory.json").read_text())["sites"]) == ["dr", "primary"]


def test_c_move_destination_is_the_controllers_address_in_each_site(tmp_path: Path) -> None:
    assert [site.destination[1] for site in deployed("lab", tmp_path)] == ["10.89.77.1", "10.89.76.1"]


def probed(tmp_path: Path, listening: dict[int, str]) -> dict[int, tuple[str, str]]:
    main, _ = deployed("example-hospital", tmp_path)
    found = unauthorized.ports_to_probe(main, main.nodes["pacs2"], listening)
    return {one["port"]: (one["address"], one["kind"]) for one in found}


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        (8404, ("198.51.100.12", "web")),
        (8406, ("198.51.100.12", "web")),
        (5432, ("192.0.2.12", "postgres")),
        (4242, ("192.0.2.12", "tls")),
        (9333, ("192.0.2.12", "closed")),
        (7781, ("192.0.2.10", "tls")),
    ],
)
def test_ports_are_probed_at_the_address_where_they_listen(
    tmp_path: Path, port: int, expected: tuple[str, str]
) -> None:
    assert probed(tmp_path, {})[port] == expected


def test_port_of_no_declared_service_must_be_closed(tmp_path: Path) -> None:
    assert probed(tmp_path, {10000: "192.0.2.12"})[10000] == ("192.0.2.12", "closed")


def test_ports_of_the_virtual_address_and_of_ssh_are_not_probed(tmp_path: Path) -> None:
    public = (22, 443, 2762, 11112)
    assert not set(public) & set(probed(tmp_path, dict.fromkeys(public, "192.0.2.12")))
