"""Running the Pulumi program without an engine: what it registers, below what, and what it exports."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pulumi.runtime import mocks, rpc
from pulumi.runtime.settings import SETTINGS, set_root_resource
from pulumi.runtime.stack import run_in_stack, wait_for_rpcs

import pulumi
from hapacs.changes import Change
from hapacs.deployment import Deployment
from hapacs.program import OUTPUT, program
from hapacs.settings import Settings
from hapacs.targets import DiskArgs, NetworkArgs, NodeArgs, NodeOutputs, Target

STACK_TYPE = "pulumi:pulumi:Stack"


@dataclass(frozen=True)
class Registered:
    """One registered resource; `parent` is a URN, empty for the stack itself."""

    urn: str
    type: str
    name: str
    parent: str
    inputs: dict[str, Any]


@dataclass
class Run:
    """What a run of the program did."""

    resources: dict[str, Registered] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of_type(self, kind: str) -> list[Registered]:
        return [resource for resource in self.resources.values() if resource.type == kind]

    def children(self, urn: str, kind: str) -> list[Registered]:
        return [resource for resource in self.of_type(kind) if resource.parent == urn]

    @property
    def inventory(self) -> dict[str, Any]:
        (stack,) = self.of_type(STACK_TYPE)
        contract: dict[str, Any] = _whole_numbers(self.outputs[stack.urn][OUTPUT])
        return contract


def _whole_numbers(value: Any) -> Any:
    """Undo what the wire does to numbers, as the engine does when it prints outputs: 443.0 is 443."""
    if isinstance(value, dict):
        return {key: _whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _Monitor(mocks.MockMonitor):
    def __init__(self, run: Run) -> None:
        super().__init__(_Echo())
        self._run = run

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - gRPC's name
        response = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        inputs = rpc.deserialize_properties(request.object)
        self._run.resources[response.urn] = Registered(response.urn, request.type, request.name, request.parent, inputs)
        return response

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 - gRPC's name
        self._run.outputs[request.urn] = rpc.deserialize_properties(request.outputs)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


class _Echo(mocks.Mocks):
    """An engine whose resources have as outputs what they had as inputs."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        return f"{args.name}-id", dict(args.inputs)

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        raise AssertionError(f"the program looks things up while it runs: {args.token}")


class _Thing(pulumi.CustomResource):
    device: pulumi.Output[str]
    address: pulumi.Output[str]
    disks: pulumi.Output[list[str]]

    def __init__(self, kind: str, name: str, inputs: dict[str, Any], parent: pulumi.Resource) -> None:
        super().__init__(f"mock:target:{kind}", name, inputs, pulumi.ResourceOptions(parent=parent))


class MockTarget:
    """A target that registers one resource for each thing it is asked for."""

    def prepare(self, on_step: Callable[[str], None]) -> None:
        """Nothing is needed."""

    def consequences(self, machines: Sequence[Change], before: Mapping[str, Any] | None) -> list[str]:  # noqa: ARG002 - the Protocol's
        """Nothing is known."""
        return []

    def sweep(self, deployment: Deployment) -> None:
        """Nothing is left."""

    def ready(self) -> None:
        """Nothing is needed."""

    def network(self, args: NetworkArgs, parent: pulumi.Resource) -> pulumi.Output[str]:
        return _Thing("Network", args.site, {"cluster": str(args.cluster)}, parent).id

    def disk(self, args: DiskArgs, parent: pulumi.Resource) -> pulumi.Output[str]:
        device = f"/dev/disk/by-id/mock-{args.node}-{args.index}"
        name = f"{args.node}-disk{args.index}"
        return _Thing("Disk", name, {"device": device, "size_bytes": args.size_bytes}, parent).device

    def node(self, args: NodeArgs, parent: pulumi.Resource) -> NodeOutputs:
        inputs = {"address": str(args.node.address), "network": args.network, "disks": args.disks}
        node = _Thing("Node", args.name, inputs, parent)
        return NodeOutputs(
            address=node.address,
            management_address=node.address,
            ssh_user=pulumi.Output.from_input("hapacs"),
            ssh_port=pulumi.Output.from_input(22),
            das_devices=node.disks,
            data_directory=pulumi.Output.from_input("/srv/data"),
        )


def run(settings: Settings, target: Target | None = None) -> Run:
    """Run the program to its end and return what it did."""
    return run_in(settings.deployment, lambda: program(settings, target or MockTarget()))


def run_in(stack: str, function: Callable[[], None]) -> Run:
    """Run any Pulumi program to its end in a stack of a given name."""
    result = Run()
    # What a run that failed left behind.
    SETTINGS.rpc_manager.clear()
    SETTINGS.outputs.clear()
    asyncio.set_event_loop(loop := asyncio.new_event_loop())
    try:
        mocks.set_mocks(_Echo(), "hapacs", stack, preview=False, monitor=_Monitor(result))
        # set_mocks registers a stack of its own, with the same name; the run below makes the one that counts.
        loop.run_until_complete(wait_for_rpcs())
        set_root_resource(None)  # type: ignore[arg-type]
        result.resources.clear()
        result.outputs.clear()
        loop.run_until_complete(run_in_stack(function))
    finally:
        set_root_resource(None)  # type: ignore[arg-type]
        # A run that failed has unfinished tasks.
        for task in (unfinished := asyncio.all_tasks(loop)):
            task.cancel()
        loop.run_until_complete(asyncio.gather(*unfinished, return_exceptions=True))
        loop.close()
    return result
