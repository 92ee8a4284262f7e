"""The components under Pulumi's mocks; each test is named after the invariant it guards."""

import json
import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import jsonschema
import pytest

from hapacs import contract, targets
from hapacs.settings import Settings, load, parse
from hapacs.settings.checks import check
from hapacs.settings.models import TargetSettings
from hapacs.targets import NodeOutputs
from hapacs.targets.static import Static
from tests.contract.pulumi_mocks import STACK_TYPE, MockTarget, Run, run, run_in
from tests.unit.provisioning.conftest import LAB

SITE, NODE, DAS = "hapacs:site:Site", "hapacs:site:PacsNode", "hapacs:site:DasVolume"
BELOW = {
    SITE: STACK_TYPE,
    NODE: SITE,
    DAS: NODE,
    "hapacs:site:CasStore": SITE,
    "hapacs:site:LoadBalancer": SITE,
    "mock:target:Network": SITE,
    "mock:target:Node": NODE,
    "mock:target:Disk": DAS,
}


@pytest.fixture(scope="module")
def lab() -> Run:
    return run(load(LAB))


def test_every_resource_is_below_its_component(lab: Run) -> None:
    parents = {
        (resource.type, lab.resources[resource.parent].type)
        for resource in lab.resources.values()
        if resource.type != STACK_TYPE
    }
    assert parents == set(BELOW.items())


def test_every_site_is_in_the_program(with_dr: dict[str, Any]) -> None:
    assert {site.name for site in run(parse(with_dr)).of_type(SITE)} == {"primary", "dr"}


def test_every_node_is_below_its_own_site(with_dr: dict[str, Any]) -> None:
    done = run(parse(with_dr))
    below = {site.name: {node.name for node in done.children(site.urn, NODE)} for site in done.of_type(SITE)}
    assert below == {"primary": {"pacs1", "pacs2", "pacs3"}, "dr": {"dr1"}}


def test_every_node_has_two_das_disks_of_its_own(lab: Run) -> None:
    disks = {
        node.name: [
            disk.inputs["device"]
            for das in lab.children(node.urn, DAS)
            for disk in lab.children(das.urn, "mock:target:Disk")
        ]
        for node in lab.of_type(NODE)
    }
    assert {name: len(devices) for name, devices in disks.items()} == {"pacs1": 2, "pacs2": 2, "pacs3": 2, "dr1": 2}
    assert len({device for devices in disks.values() for device in devices}) == 8


def test_every_machine_gets_the_disks_of_its_das(lab: Run) -> None:
    for node in lab.of_type(NODE):
        (das,) = lab.children(node.urn, DAS)
        (machine,) = lab.children(node.urn, "mock:target:Node")
        made = sorted(disk.inputs["device"] for disk in lab.children(das.urn, "mock:target:Disk"))
        assert sorted(machine.inputs["disks"]) == made


def test_every_disk_has_the_size_of_the_settings(lab: Run) -> None:
    assert {disk.inputs["size_bytes"] for disk in lab.of_type("mock:target:Disk")} == {4 * 1024**3}


def test_every_component_registers_outputs(lab: Run) -> None:
    components = [r for r in lab.resources.values() if r.type.startswith("hapacs:")]
    assert components
    assert [component.name for component in components if not lab.outputs.get(component.urn)] == []


def test_contract_holds_no_secret(lab: Run) -> None:
    text = json.dumps(lab.inventory)
    assert not re.search(r"secret|password|passphrase|token|private|BEGIN", text, re.IGNORECASE)
    schema = json.dumps(contract.json_schema()["$defs"])
    assert not re.search(r'"[a-z_]*(secret|password|passphrase|token|key)[a-z_]*": \{', schema)


def test_contract_has_the_outputs_of_the_target(with_dr: dict[str, Any]) -> None:
    class Elsewhere(MockTarget):
        def node(self, args: Any, parent: Any) -> NodeOutputs:
            outputs = super().node(args, parent)
            return replace(outputs, management_address=outputs.address.apply(lambda a: a.replace("10.89", "192.168")))

    site = run(parse(with_dr), Elsewhere()).inventory["sites"]["dr"]
    assert site["nodes"]["dr1"]["management_address"] == "192.168.76.11"
    assert site["nodes"]["dr1"]["address"] == "10.89.76.11"


def test_split_pools_reach_the_contract(data: dict[str, Any], primary: dict[str, Any]) -> None:
    primary["nodes"]["pacs4"] = {"zone": "rack1", "address": "10.89.77.14"}
    groups = ("etcd", "postgres", "cas", "load_balancer", "monitoring")
    primary["pools"] = {group: ["pacs1", "pacs2", "pacs3"] for group in groups} | {"pacs": ["pacs3", "pacs4"]}
    exported = run(parse(data)).inventory["sites"]["primary"]
    assert exported["members"] == primary["pools"]
    # Only who keeps images has disks for them.
    assert {name: len(node["das_devices"]) for name, node in exported["nodes"].items()} == {
        "pacs1": 0,
        "pacs2": 0,
        "pacs3": 2,
        "pacs4": 2,
    }


def test_each_site_is_called_from_the_address_that_it_sees(with_dr: dict[str, Any]) -> None:
    sites = run(parse(with_dr)).inventory["sites"]
    own = {name: site["callers"][-1] for name, site in sites.items()}
    assert {name: (caller["networks"], caller["host"]) for name, caller in own.items()} == {
        "primary": (["10.89.77.1/32"], "10.89.77.1"),
        "dr": (["10.89.76.1/32"], "10.89.76.1"),
    }


@pytest.mark.parametrize(("fraction", "free"), [(0.75, 1024**3), (0.9, 512 * 1024**2)])
def test_nodes_keep_the_larger_reserve_free(
    data: dict[str, Any], primary: dict[str, Any], fraction: float, free: int
) -> None:
    # 4 GiB are usable; the lab's floor is 512 MiB.
    primary["policy"] |= {"das_watermark_fraction": fraction, "das_evict_above_fraction": 0.7}
    primary["policy"]["das_evict_to_fraction"] = 0.6
    assert run(parse(data)).inventory["sites"]["primary"]["policy"]["das_minimum_free_bytes"] == free


def test_the_marks_of_eviction_reach_the_contract_in_bytes(data: dict[str, Any], primary: dict[str, Any]) -> None:
    primary["policy"] |= {"das_evict_above_fraction": 0.75, "das_evict_to_fraction": 0.5, "das_minimum_age_hours": 48}
    policy = run(parse(data)).inventory["sites"]["primary"]["policy"]
    assert (policy["das_evict_below_bytes"], policy["das_evict_until_bytes"]) == (1024**3, 2 * 1024**3)
    assert policy["das_minimum_age_hours"] == 48


def test_unsound_output_of_a_target_stops_the_program(data: dict[str, Any]) -> None:
    class Broken(MockTarget):
        def node(self, args: Any, parent: Any) -> NodeOutputs:
            outputs = super().node(args, parent)
            return replace(outputs, das_devices=outputs.das_devices.apply(lambda _: []))

    with pytest.raises(ValueError, match="das_devices"):
        run(parse(data), Broken())


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines that will do, so that nobody is asked."""
    monkeypatch.setattr("hapacs.targets.static.ask_all", lambda *_: {})


def static(data: dict[str, Any]) -> Settings:
    data["target"] = {"kind": "static", "ssh_user": "operator", "ssh_port": 2222}
    for name, node in data["sites"]["primary"]["nodes"].items():
        node["das_devices"] = [f"/dev/disk/by-id/{name}-a", f"/dev/disk/by-id/{name}-b"]
    return parse(data)


@pytest.mark.usefixtures("ready")
def test_existing_machines_are_only_passed_on(data: dict[str, Any], tmp_path: Path) -> None:
    data["sites"]["primary"]["nodes"]["pacs2"]["wipe_serials"] = ["WD-1"]
    settings = static(data)
    done = run(settings, targets.create(settings, tmp_path))
    assert {resource.type for resource in done.resources.values()} == {
        STACK_TYPE,
        SITE,
        NODE,
        DAS,
        "hapacs:site:CasStore",
        "hapacs:site:LoadBalancer",
    }
    assert done.inventory["target"] == "static"
    assert done.inventory["sites"]["primary"]["nodes"]["pacs2"] == {
        "zone": "rack2",
        "address": "10.89.77.12",
        "management_address": "10.89.77.12",
        "ssh_user": "operator",
        "ssh_port": 2222,
        "das_devices": ["/dev/disk/by-id/pacs2-a", "/dev/disk/by-id/pacs2-b"],
        "das_wipe_serials": ["WD-1"],
        "data_directory": "/srv/data",
    }


def test_target_is_found_by_its_kind(data: dict[str, Any], tmp_path: Path) -> None:
    assert isinstance(targets.create(static(data), tmp_path), Static)


class Imagined(TargetSettings):
    """Settings of a target that nothing else knows."""

    makes_machines = True
    expendable = False
    switches_power = False
    sizing = "dedicated"

    kind: Literal["imagined"]


def test_new_target_is_a_module_and_its_settings(
    data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("hapacs.targets.imagined")
    vars(module)["create"] = lambda _settings, _state: MockTarget()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    settings = parse(data).model_copy(update={"target": Imagined(kind="imagined")})
    exported = run(settings, targets.create(settings, tmp_path)).inventory
    assert (exported["target"], exported["sizing"]) == ("imagined", "dedicated")
    jsonschema.validate(exported, contract.json_schema())
    assert check(settings) == []


@pytest.mark.usefixtures("ready")
def test_stock_pulumi_runs_the_same_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HAPACS_STATE_DIR", str(tmp_path))
    main = LAB.parents[2] / "pulumi/__main__.py"

    def stock() -> None:
        runpy.run_path(str(main))

    exported = run_in("example-hospital", stock).inventory
    settings = load(LAB.parents[1] / "example-hospital/settings.yaml")
    assert exported == run(settings, targets.create(settings, tmp_path)).inventory
    assert set(exported["sites"]["second"]["nodes"]) == {"dr1"}


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="canary: a false claim inside an output has to fail a test"
)
def test_canary_false_claim_inside_an_output_fails(data: dict[str, Any]) -> None:
    class Lying(MockTarget):
        def node(self, args: Any, parent: Any) -> NodeOutputs:
            outputs = super().node(args, parent)

            def claim(address: str) -> None:
                assert address == "nowhere"

            outputs.address.apply(claim)
            return outputs

    run(parse(data), Lying())
