"""The providers' comparisons, against a machine that is played."""

from pathlib import Path
from typing import Any

import dill  # type: ignore[import-untyped]
import pytest
from pulumi.dynamic import CreateResult, ReadResult, UpdateResult

from hapacs.targets.lab import loops, networks, nodes
from hapacs.targets.lab.podman import LabError
from hapacs.targets.lab.providers import DiskProvider, NetworkProvider, NodeProvider

NODE = {
    "container": "x-n1",
    "deployment": "x",
    "hostname": "n1",
    "network": "x-site",
    "address": "10.0.0.2",
    "image": "image:1",
    "devices": ["/dev/loop64"],
    "data": "/data/n1",
    "keys": "/keys",
}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    containers: dict[str, nodes.Found] = {}

    def ensure(node: nodes.Node) -> None:
        containers[node.container] = nodes.Found(node.deployment, node.fingerprint, "running")

    monkeypatch.setattr(nodes, "ensure", ensure)
    monkeypatch.setattr(nodes, "find", containers.get)
    return containers


def outs(result: CreateResult | ReadResult | UpdateResult) -> dict[str, Any]:
    assert result.outs is not None
    return result.outs


def refreshed(machine_provider: NodeProvider, outputs: dict[str, Any]) -> dict[str, Any]:
    return outs(machine_provider.read("x-n1", outputs))


@pytest.mark.usefixtures("machine")
def test_running_node_needs_no_change() -> None:
    provider = NodeProvider()
    outputs = outs(provider.create(NODE))
    assert not provider.diff("x-n1", refreshed(provider, outputs), NODE).changes


def test_stopped_node_is_updated_in_place(machine: dict[str, Any]) -> None:
    provider = NodeProvider()
    outputs = outs(provider.create(NODE))
    machine["x-n1"] = nodes.Found("x", machine["x-n1"].fingerprint, "exited")

    difference = provider.diff("x-n1", refreshed(provider, outputs), NODE)

    assert difference.changes
    assert not difference.replaces
    assert outs(provider.update("x-n1", outputs, NODE))["state"] == "running"


def test_node_made_with_other_properties_is_detected(machine: dict[str, Any]) -> None:
    provider = NodeProvider()
    outputs = outs(provider.create(NODE))
    machine["x-n1"] = nodes.Found("x", "something else", "running")
    assert provider.diff("x-n1", refreshed(provider, outputs), NODE).changes


@pytest.mark.parametrize("left", [{}, {"x-n1": nodes.Found("somebody", "f", "running")}])
def test_missing_node_and_node_of_another_deployment_count_as_gone(
    machine: dict[str, Any], left: dict[str, nodes.Found]
) -> None:
    provider = NodeProvider()
    outputs = outs(provider.create(NODE))
    machine.clear()
    machine |= left
    assert provider.read("x-n1", outputs).id == ""


@pytest.mark.usefixtures("machine")
def test_newer_image_does_not_change_an_existing_node() -> None:
    provider = NodeProvider()
    outputs = outs(provider.create(NODE))
    assert not provider.diff("x-n1", outputs, NODE | {"image": "image:2"}).changes


@pytest.mark.usefixtures("machine")
def test_renamed_node_is_replaced_and_the_old_one_is_deleted_first() -> None:
    provider = NodeProvider()
    outputs = outs(provider.create(NODE))
    difference = provider.diff("x-n1", outputs, NODE | {"container": "x-n9"})
    assert difference.replaces == ["container"]
    assert difference.delete_before_replace


@pytest.mark.usefixtures("machine")
def test_changed_address_is_detected() -> None:
    provider = NodeProvider()
    outputs = outs(provider.create(NODE))
    assert provider.diff("x-n1", outputs, NODE | {"address": "10.0.0.3"}).changes


def test_detached_disk_is_attached_to_its_device_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def attach(_path: Path, preferred: str) -> str:
        asked.append(preferred)
        return "/dev/loop70"

    monkeypatch.setattr(loops, "attach", attach)
    monkeypatch.setattr(loops, "attached", lambda _path: None)
    provider = DiskProvider()
    # Numbers come back from the engine as floats.
    properties = {"path": str(tmp_path / "disk.img"), "size_bytes": 1048576.0}
    outputs = outs(provider.create(properties))

    after_reboot = outs(provider.read("", outputs))

    assert after_reboot["attached"] is False
    assert provider.diff("", after_reboot, properties).changes
    assert outs(provider.update("", after_reboot, properties))["attached"] is True
    assert asked == ["", "/dev/loop70"]


def test_removing_a_disk_keeps_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loops, "attach", lambda _path, _preferred: "/dev/loop70")
    monkeypatch.setattr(loops, "attached", lambda _path: None)
    provider = DiskProvider()
    outputs = outs(provider.create({"path": str(tmp_path / "disk.img"), "size_bytes": 1 << 20}))
    provider.delete("", outputs)
    assert (tmp_path / "disk.img").stat().st_size == 1 << 20


def test_network_with_another_subnet_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = {"name": "x-site", "deployment": "x", "subnet": "10.0.0.0/24", "gateway": "10.0.0.1"}
    found = networks.Network("x-site", "x", "10.9.0.0/24", "10.9.0.1")
    monkeypatch.setattr(networks, "find", lambda _name: found)
    provider = NetworkProvider()
    assert provider.diff("x-site", outs(provider.read("x-site", properties)), properties).changes


def test_resource_of_another_deployment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = {"name": "x-site", "labels": {}, "subnets": [{"subnet": "10.0.0.0/24", "gateway": "10.0.0.1"}]}
    monkeypatch.setattr(networks, "inspect", lambda _kind, _name: foreign)
    with pytest.raises(LabError, match="does not belong to the deployment 'x'"):
        networks.ensure(networks.Network("x-site", "x", "10.0.0.0/24", "10.0.0.1"))


@pytest.mark.parametrize("provider", [NetworkProvider(), DiskProvider(), NodeProvider()])
def test_pickled_provider_contains_only_its_name(provider: object) -> None:
    pickled = dill.dumps(provider)
    assert len(pickled) < 200
    # Our own bytes of a line before.
    assert type(dill.loads(pickled)) is type(provider)  # noqa: S301
