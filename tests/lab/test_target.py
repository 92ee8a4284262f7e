"""The target `lab` with real resources: a network, one node and its disks on this machine, through Pulumi."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from hapacs import image, secrets, ssh
from hapacs.changes import Change
from hapacs.deployment import PROJECT, Deployment, cache_directory
from hapacs.engine import Engine
from hapacs.settings import Settings
from hapacs.targets.lab import base_image, loops, power, teardown
from hapacs.targets.lab.podman import LABEL, inspect, podman

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"),
    pytest.mark.skipif(shutil.which("podman") is None, reason="the lab needs podman"),
]

NAME = "hapacs-try"
NODE = f"{NAME}-one"
SUBNET = "10.89.90"
MARK = "what was on the disk"


def on_this_machine() -> dict[str, set[str]]:
    """Return the resources that a lab could leave behind."""
    return {
        "containers": set(podman("ps", "--all", "--format", "{{.Names}}").split()),
        "networks": set(podman("network", "ls", "--format", "{{.Name}}").split()),
        "disks": {path.read_text().strip() for path in Path("/sys/block").glob("loop*/loop/backing_file")},
        "mounts": {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()},
    }


def described(root: Path, name: str, subnet: str) -> Deployment:
    """Return settings of a deployment with one node and its own network."""
    settings: dict[str, Any] = yaml.safe_load((PROJECT / "inventories" / "lab" / "settings.yaml").read_text())
    site = settings["sites"]["primary"]
    del site["backup"], site["policy"]["replicate"]
    settings |= {"deployment": name, "callers": [], "sites": {"primary": site}}
    settings["verify"]["host"] = f"{subnet}.1"
    site["networks"] = {
        "cluster": f"{subnet}.0/24",
        "gateway": f"{subnet}.1",
        "management": [f"{subnet}.1/32"],
        "clients": [f"{subnet}.0/24"],
    }
    site["vip"]["address"] = f"{subnet}.10"
    site["nodes"] = {"one": {"zone": "rack1", "address": f"{subnet}.11"}}
    site["disks"]["das"] = {"count": 2, "size_bytes": "1GiB"}
    directory = root / name
    directory.mkdir()
    made = Deployment(name, directory, root / "state" / name, cache_directory())
    # The checks of the settings refuse a site of one node, but one node is enough here.
    made.__dict__["settings"] = Settings.model_validate(settings)
    return made


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """Start nodes from the base image, which is enough here."""
    with pytest.MonkeyPatch.context() as patch:
        base = base_image.ensure()
        patch.setattr(image, "tag", lambda: base)
        yield base


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def deployment(root: Path, base: str) -> Iterator[Deployment]:
    """A deployment of one node."""
    assert base
    made = described(root, NAME, SUBNET)
    secrets.ensure(made)
    yield made
    teardown.sweep(made)


@pytest.fixture(scope="module")
def before(deployment: Deployment) -> dict[str, set[str]]:
    assert not deployment.contract_file.exists()
    return on_this_machine()


@pytest.fixture(scope="module")
def up(deployment: Deployment, before: dict[str, set[str]]) -> Sequence[Change]:
    assert f"{NAME}-primary" not in before["networks"]
    return Engine(deployment).up().machines


def on_node(deployment: Deployment, *words: str) -> str:
    command = ssh.command(f"{SUBNET}.11", deployment.ssh_key, deployment.known_hosts, *words)
    return subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout.strip()


def disks(deployment: Deployment) -> list[Path]:
    """Return the files behind the node's disks."""
    return [deployment.state / "lab" / "disks" / f"one-{index}.img" for index in range(2)]


def kinds(changes: Sequence[Change]) -> list[tuple[str, str]]:
    return sorted((change.operation, change.kind) for change in changes)


@pytest.mark.usefixtures("up")
class TestUp:
    def test_the_node_boots_systemd_and_has_its_disks_and_its_data(self, deployment: Deployment) -> None:
        assert on_node(deployment, "systemctl", "is-system-running", "--wait") == "running"
        assert on_node(deployment, "hostname") == "one"
        for index in range(2):
            device = loops.attached(deployment.state / "lab" / "disks" / f"one-{index}.img")
            assert on_node(deployment, "sudo", "blockdev", "--getsize64", str(device)) == str(1 << 30)
        on_node(deployment, "sudo", "touch", "/srv/data/kept")
        assert (deployment.state / "lab" / "data" / "one" / "kept").exists()

    def test_second_up_and_plan_report_no_change(self, deployment: Deployment) -> None:
        assert Engine(deployment).up().machines == []
        assert Engine(deployment).preview().machines == []

    def test_stopped_node_restarts_with_its_state(self, deployment: Deployment) -> None:
        boot = on_node(deployment, "cat", "/etc/machine-id")
        power.power_off(NODE)
        assert not power.is_on(NODE)
        power.power_on(NODE, deployment.state / "ssh")
        assert on_node(deployment, "cat", "/etc/machine-id") == boot

    def test_the_bridge_keeps_its_hardware_address_when_nodes_come_and_go(self) -> None:
        bridge = podman("network", "inspect", f"{NAME}-primary", "--format", "{{.NetworkInterface}}").strip()
        address = Path(f"/sys/class/net/{bridge}/address")
        before, other = address.read_text(), "hapacs-lower"
        # Lower than any that a node's interface may have.
        made = ["ip", "link", "add", other, "address", "02:00:00:00:00:01", "type", "veth", "peer", "name", f"{other}2"]
        subprocess.run(made, check=True)
        try:
            subprocess.run(["ip", "link", "set", other, "master", bridge], check=True)
            assert address.read_text() == before
        finally:
            subprocess.run(["ip", "link", "delete", other], check=True)

    def test_network_cut_and_heal_take_effect(self, deployment: Deployment) -> None:
        power.cut(NODE)
        with pytest.raises(subprocess.CalledProcessError):
            on_node(deployment, "true")
        power.heal(NODE)
        ssh.wait(f"{SUBNET}.11", deployment.ssh_key, deployment.known_hosts, timeout_s=30)

    @pytest.mark.parametrize(
        ("damage", "repair"),
        [
            (("kill", "--signal", "KILL"), [("update", "LabNode")]),
            (("pause",), [("update", "LabNode")]),
            (("rm", "--force", "--time", "0"), [("create", "LabNode")]),
        ],
        ids=["killed", "frozen", "removed"],
    )
    def test_plan_reports_a_lost_node_and_up_restores_it(
        self, deployment: Deployment, damage: tuple[str, ...], repair: list[tuple[str, str]]
    ) -> None:
        on_node(deployment, "sudo", "touch", "/srv/data/kept")
        podman(*damage, NODE)

        assert kinds(Engine(deployment).preview().machines) == repair
        assert kinds(Engine(deployment).up().machines) == repair

        # The same host key answers, and the data is there.
        assert on_node(deployment, "ls", "/srv/data") == "kept"
        assert Engine(deployment).preview().machines == []

    def test_a_detached_disk_is_attached_again_as_the_same_device(self, deployment: Deployment) -> None:
        path = deployment.state / "lab" / "disks" / "one-1.img"
        device = loops.attached(path)
        loops.detach(path)
        # Without the disk's device a plan can't know that the node doesn't change.
        assert ("update", "LabDisk") in kinds(Engine(deployment).preview().machines)
        assert kinds(Engine(deployment).up().machines) == [("update", "LabDisk")]
        assert loops.attached(path) == device

    def test_removed_network_is_recreated_with_its_node(self, deployment: Deployment) -> None:
        on_node(deployment, "sudo", "touch", "/srv/data/kept")
        # podman removes the node together with its network.
        podman("network", "rm", "--force", "--time", "0", f"{NAME}-primary")
        repair = [("create", "LabNetwork"), ("create", "LabNode")]

        assert kinds(Engine(deployment).preview().machines) == repair
        assert kinds(Engine(deployment).up().machines) == repair

        assert on_node(deployment, "ls", "/srv/data") == "kept"
        assert Engine(deployment).preview().machines == []

    def test_disks_survive_the_node(self, deployment: Deployment) -> None:
        devices = [str(loops.attached(path)) for path in disks(deployment)]
        for device in devices:
            on_node(deployment, f"echo {MARK} {device} | sudo dd of={device} conv=notrunc,fsync status=none")
        podman("rm", "--force", "--time", "0", NODE)

        assert kinds(Engine(deployment).up().machines) == [("create", "LabNode")]

        for device in devices:
            length = len(f"{MARK} {device}")
            assert on_node(deployment, "sudo", "head", "-c", str(length), device) == f"{MARK} {device}"

    def test_failed_disk_is_replaced_by_a_blank_one(self, deployment: Deployment) -> None:
        dead, other = disks(deployment)
        device = str(loops.attached(other))
        on_node(deployment, f"echo {MARK} | sudo dd of={device} conv=notrunc,fsync status=none")
        loops.detach(dead)
        dead.unlink()

        assert ("create", "LabDisk") in kinds(Engine(deployment).preview().machines)
        assert ("create", "LabDisk") in kinds(Engine(deployment).up().machines)

        assert on_node(deployment, "sudo", "blockdev", "--getsize64", str(loops.attached(dead))) == str(1 << 30)
        assert (
            on_node(deployment, "sudo", "blkid", "--probe", str(loops.attached(dead)), "||", "echo", "blank") == "blank"
        )
        assert on_node(deployment, "sudo", "head", "-c", str(len(MARK)), device) == MARK
        assert Engine(deployment).preview().machines == []

    def test_disk_with_removed_file_is_replaced(self, deployment: Deployment) -> None:
        dead = disks(deployment)[0]
        on_node(deployment, f"echo {MARK} | sudo dd of={loops.attached(dead)} conv=notrunc,fsync status=none")
        dead.unlink()
        assert ("create", "LabDisk") in kinds(Engine(deployment).up().machines)
        # The node uses the new file, and no loop device holds the old one.
        device = str(loops.attached(dead))
        assert on_node(deployment, "sudo", "blkid", "--probe", device, "||", "echo", "blank") == "blank"
        assert MARK not in on_node(deployment, "sudo", "head", "-c", "64", device, "|", "tr", "-d", r"'\\000'")
        assert not [name for name in on_this_machine()["disks"] if name == f"{dead} (deleted)"]
        assert Engine(deployment).preview().machines == []

    def test_another_deployment_changes_nothing_of_this_one(self, deployment: Deployment, root: Path) -> None:
        mine = podman("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", NODE)
        attached = [loops.attached(path) for path in disks(deployment)]
        other = described(root, f"{NAME}-2", "10.89.91")
        try:
            secrets.ensure(other)
            assert ("create", "LabNode") in kinds(Engine(other).up().machines)
            assert not {loops.attached(path) for path in disks(other)} & set(attached)
            assert Engine(deployment).preview().machines == []
            assert Engine(deployment).up().machines == []
            assert Engine(other).preview().machines == []
        finally:
            Engine(other).down()
            teardown.sweep(other)
        assert podman("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", NODE) == mine
        assert [loops.attached(path) for path in disks(deployment)] == attached
        assert on_node(deployment, "hostname") == "one"

    def test_up_after_a_reboot_restores_the_same_node(self, deployment: Deployment) -> None:
        identity = on_node(deployment, "cat", "/etc/machine-id")
        files = disks(deployment)
        devices = [loops.attached(path) for path in files]
        power.power_off(NODE)
        for path in files:
            loops.detach(path)

        changes = Engine(deployment).up().machines

        assert kinds(changes) == [("update", "LabDisk"), ("update", "LabDisk"), ("update", "LabNode")]
        assert [loops.attached(path) for path in files] == devices
        assert on_node(deployment, "cat", "/etc/machine-id") == identity

    def test_next_run_clears_lock_and_leftovers_of_a_killed_run(self, deployment: Deployment) -> None:
        locks = deployment.state / "pulumi" / ".pulumi" / "locks" / "organization" / "hapacs" / NAME
        locks.mkdir(parents=True, exist_ok=True)
        ended = subprocess.Popen(["true"])
        ended.wait()
        (locks / "killed.json").write_text(f'{{"pid": {ended.pid}, "username": "x", "hostname": "y"}}')
        assert Engine(deployment).up().machines == []
        assert not (locks / "killed.json").exists()

    def test_state_and_logs_contain_no_secret(self, deployment: Deployment) -> None:
        read = secrets.read(deployment).values()
        # Users and destinations have one each; a lab without destinations has none of those.
        plain = [str(one) for value in read for one in (value.values() if isinstance(value, dict) else [value])]
        assert min(map(len, plain)) > 8
        files = [path for path in deployment.state.rglob("*") if path.is_file() and "lab" not in path.parts[-3:]]
        assert any("pulumi" in path.parts for path in files)
        assert not [path for path in files for value in plain if value.encode() in path.read_bytes()]


@pytest.mark.usefixtures("up")
def test_down_removes_leftovers_of_a_failed_up(deployment: Deployment, before: dict[str, set[str]]) -> None:
    # Pulumi doesn't know a node whose creation failed.
    node = inspect("container", NODE)
    assert node is not None
    podman(
        "create", "--name", f"{NAME}-half", "--label", f"{LABEL}={NAME}", "--network", f"{NAME}-primary", node["Image"]
    )
    Engine(deployment).down()
    teardown.sweep(deployment)
    after = on_this_machine()
    # Only resources with the deployment's name count: others of this machine may change meanwhile.
    left = {kind: [name for name in sorted(after[kind] - before[kind]) if NAME in name] for kind in after}
    assert left == {"containers": [], "networks": [], "disks": [], "mounts": []}
    assert not deployment.state.exists()
    assert not deployment.secrets_file.exists()
