"""The target `lab` for real: a network, one node and its disks on this machine, through Pulumi."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hapacs import image, secrets, ssh
from hapacs.deployment import PROJECT, Deployment, cache_directory
from hapacs.engine import Change, Engine
from hapacs.settings import Settings
from hapacs.targets.lab import base_image, loops, power, teardown
from hapacs.targets.lab.podman import podman

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"),
    pytest.mark.skipif(shutil.which("podman") is None, reason="the lab needs podman"),
]

NAME = "hapacs-try"
NODE = f"{NAME}-one"
SUBNET = "10.89.90"


def on_this_machine() -> dict[str, set[str]]:
    """Return what a lab could leave behind."""
    return {
        "containers": set(podman("ps", "--all", "--format", "{{.Names}}").split()),
        "networks": set(podman("network", "ls", "--format", "{{.Name}}").split()),
        "disks": {path.read_text().strip() for path in Path("/sys/block").glob("loop*/loop/backing_file")},
        "mounts": {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()},
    }


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment of one node on a network of its own, started from the base image."""
    root = tmp_path_factory.mktemp("lab")
    settings: dict[str, Any] = yaml.safe_load((PROJECT / "inventories" / "lab" / "settings.yaml").read_text())
    site = settings["sites"]["primary"]
    settings |= {"deployment": NAME, "callers": []}
    settings["verify"]["host"] = f"{SUBNET}.1"
    site["networks"] = {
        "cluster": f"{SUBNET}.0/24",
        "gateway": f"{SUBNET}.1",
        "management": [f"{SUBNET}.1/32"],
        "clients": [f"{SUBNET}.0/24"],
    }
    site["vip"]["address"] = f"{SUBNET}.10"
    site["nodes"] = {"one": {"zone": "rack1", "address": f"{SUBNET}.11"}}
    site["disks"]["das"] = {"count": 2, "size_bytes": "1GiB"}
    directory = root / NAME
    directory.mkdir()
    made = Deployment(NAME, directory, root / "state" / NAME, cache_directory())
    # The settings' own checks refuse a site of one node, which is all that is needed here.
    made.__dict__["settings"] = Settings.model_validate(settings)
    with pytest.MonkeyPatch.context() as patch:
        base = base_image.ensure()
        patch.setattr(image, "tag", lambda: base)
        secrets.ensure(made)
        yield made
        teardown.sweep(made)


@pytest.fixture(scope="module")
def before(deployment: Deployment) -> dict[str, set[str]]:
    assert not deployment.contract_file.exists()
    return on_this_machine()


@pytest.fixture(scope="module")
def up(deployment: Deployment, before: dict[str, set[str]]) -> list[Change]:
    assert f"{NAME}-primary" not in before["networks"]
    return Engine(deployment).up()


def on_node(deployment: Deployment, *words: str) -> str:
    command = ssh.command(f"{SUBNET}.11", deployment.ssh_key, deployment.known_hosts, *words)
    return subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout.strip()


def kinds(changes: list[Change]) -> list[tuple[str, str]]:
    return sorted((change.operation, change.kind) for change in changes)


@pytest.mark.usefixtures("up")
class TestUp:
    def test_the_node_boots_systemd_and_has_its_disks_and_its_data(self, deployment: Deployment):
        assert on_node(deployment, "systemctl", "is-system-running", "--wait") == "running"
        assert on_node(deployment, "hostname") == "one"
        for index in range(2):
            device = loops.attached(deployment.state / "lab" / "disks" / f"one-{index}.img")
            assert on_node(deployment, "sudo", "blockdev", "--getsize64", str(device)) == str(1 << 30)
        on_node(deployment, "sudo", "touch", "/srv/data/kept")
        assert (deployment.state / "lab" / "data" / "one" / "kept").exists()

    def test_another_up_and_a_plan_have_nothing_to_do(self, deployment: Deployment):
        assert Engine(deployment).up() == []
        assert Engine(deployment).preview() == []

    def test_a_node_that_was_switched_off_comes_back_by_itself(self, deployment: Deployment):
        boot = on_node(deployment, "cat", "/etc/machine-id")
        power.power_off(NODE)
        assert not power.is_on(NODE)
        power.power_on(NODE, deployment.state / "ssh")
        assert on_node(deployment, "cat", "/etc/machine-id") == boot

    def test_a_cut_cable_is_cut_and_healed(self, deployment: Deployment):
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
    def test_plan_sees_what_happened_to_a_node_and_up_repairs_it(
        self, deployment: Deployment, damage: tuple[str, ...], repair: list[tuple[str, str]]
    ):
        on_node(deployment, "sudo", "touch", "/srv/data/kept")
        podman(*damage, NODE)

        assert kinds(Engine(deployment).preview()) == repair
        assert kinds(Engine(deployment).up()) == repair

        # The same host key answers, and the data is there.
        assert on_node(deployment, "ls", "/srv/data") == "kept"
        assert Engine(deployment).preview() == []

    def test_a_detached_disk_is_attached_again_as_the_same_device(self, deployment: Deployment):
        path = deployment.state / "lab" / "disks" / "one-1.img"
        device = loops.attached(path)
        loops.detach(path)
        # Before the disk has its device a plan cannot know that the node need not change.
        assert ("update", "LabDisk") in kinds(Engine(deployment).preview())
        assert kinds(Engine(deployment).up()) == [("update", "LabDisk")]
        assert loops.attached(path) == device

    def test_after_a_reboot_of_this_machine_up_brings_back_the_same_node(self, deployment: Deployment):
        identity = on_node(deployment, "cat", "/etc/machine-id")
        disks = [deployment.state / "lab" / "disks" / f"one-{index}.img" for index in range(2)]
        devices = [loops.attached(path) for path in disks]
        power.power_off(NODE)
        for path in disks:
            loops.detach(path)

        changes = Engine(deployment).up()

        assert kinds(changes) == [("update", "LabDisk"), ("update", "LabDisk"), ("update", "LabNode")]
        assert [loops.attached(path) for path in disks] == devices
        assert on_node(deployment, "cat", "/etc/machine-id") == identity

    def test_the_lock_and_the_leftovers_of_a_killed_run_do_not_stop_the_next(self, deployment: Deployment):
        locks = deployment.state / "pulumi" / ".pulumi" / "locks" / "organization" / "hapacs" / NAME
        locks.mkdir(parents=True, exist_ok=True)
        ended = subprocess.Popen(["true"])
        ended.wait()
        (locks / "killed.json").write_text(f'{{"pid": {ended.pid}, "username": "x", "hostname": "y"}}')
        assert Engine(deployment).up() == []
        assert not (locks / "killed.json").exists()

    def test_no_secret_is_in_the_state_or_a_log(self, deployment: Deployment):
        plain = [str(value) for value in deployment.secrets().values()]
        files = [path for path in deployment.state.rglob("*") if path.is_file() and "lab" not in path.parts[-3:]]
        assert any("pulumi" in path.parts for path in files)
        assert not [path for path in files for value in plain if value.encode() in path.read_bytes()]


@pytest.mark.usefixtures("up")
def test_down_leaves_nothing(deployment: Deployment, before: dict[str, set[str]]):
    Engine(deployment).down()
    teardown.sweep(deployment)
    after = on_this_machine()
    # Other things of this machine may come and go meanwhile; ours carry the deployment's name.
    left = {kind: [name for name in sorted(after[kind] - before[kind]) if NAME in name] for kind in after}
    assert left == {"containers": [], "networks": [], "disks": [], "mounts": []}
    assert not deployment.state.exists()
    assert not deployment.secrets_file.exists()
