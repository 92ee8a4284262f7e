"""The example hospital on existing machines: they are checked before any change, then brought up and verified.

The machines are Debian 13 in containers that the test makes, each with two networks and two disks. They start from the
golden image, which has the packages installed, so that `up` only configures them. The addresses of the example are
replaced, and its second site is left out (the lab has one). The tests run in their order in this file.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from hapacs import image, ssh
from hapacs.deployment import PROJECT, Deployment
from hapacs.errors import ExitCode
from hapacs.targets.lab import loops, networks, nodes
from hapacs.targets.lab.podman import LabError, podman
from tests.sites import made

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="containers of machines need root"),
    pytest.mark.skipif(shutil.which("podman") is None, reason="containers of machines need podman"),
    pytest.mark.timeout(40 * 60),
]

NAME = "clinic"
# The networks of the example, and those that replace them here.
NETWORKS = {"192.0.2.": "10.89.73.", "198.51.100.": "10.89.74.", "203.0.113.": "10.89.75."}
CONTROLLER = {"cluster": "10.89.73.2", "management": "10.89.74.2"}
DISK_BYTES = 1 << 30
USED, SERIAL = ("pacs1", 0), "TRIAL-0001"
# Settings that three containers on one machine can't have.
CONTAINERS = {
    "postgres_shared_buffers_bytes": 128 << 20,
    "postgres_wal_keep_bytes": 256 << 20,
    "seaweedfs_volume_size_limit_mb": 1024,
    "seaweedfs_open_files": 20000,
}
# A container must not set its host's clock or query time servers, but it has to run the service.
_CLOCK = """
echo 'DAEMON_OPTS="-F 1 -x"' >/etc/default/chrony
echo 'confdir /etc/chrony/conf.d' >/etc/chrony/chrony.conf
"""


def settings() -> dict[str, Any]:
    """Return the example's settings for the machines that are made here."""
    text = (PROJECT / "inventories/example-hospital/settings.yaml").read_text(encoding="utf-8")
    for network, other in NETWORKS.items():
        text = text.replace(network, other)
    values: dict[str, Any] = yaml.safe_load(text)
    del values["sites"]["second"]
    values["deployment"] = NAME
    site = values["sites"]["main"]
    # The example has 16 TiB.
    site["disks"]["das"]["size_bytes"] = DISK_BYTES
    site["policy"]["das_minimum_free_bytes"] = "128MiB"
    # They go to the second site.
    del site["policy"]["replicate"], site["backup"]
    return values


def by_id(node: str, index: int) -> str:
    """Return the name of a machine's disk in the settings."""
    return f"/dev/disk/by-id/trial-{node}-{index}"


def disk(deployment: Deployment, node: str, index: int) -> str:
    """Return the loop device behind a machine's disk."""
    path = deployment.state / "lab" / "disks" / f"{node}-{index}.img"
    loops.make_file(path, DISK_BYTES)
    return loops.attach(path)


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """The deployment with its networks and disks, before its machines exist."""
    values = settings()
    with made.removed_at_the_end(made.write(values, {"site_main": CONTAINERS})):
        for node, spec in values["sites"]["main"]["nodes"].items():
            spec["das_devices"] = [by_id(node, index) for index in range(2)]
        site = values["sites"]["main"]["networks"]
        for kind, subnet in (("cluster", site["cluster"]), ("management", site["management"][0])):
            networks.ensure(networks.Network(f"{NAME}-{kind}", NAME, subnet, CONTROLLER[kind]))
        written = made.write(values, {"site_main": CONTAINERS})
        done = made.hapacs("init", NAME)
        assert done.returncode == ExitCode.OK, made.output(done)
        yield written


@pytest.fixture(scope="module")
def machines(deployment: Deployment) -> Deployment:
    """The machines after the installation of Debian; one has a used disk."""
    identity = image.ensure()
    for name, node in deployment.settings.sites["main"].nodes.items():
        disks = tuple(disk(deployment, name, index) for index in range(2))
        machine = nodes.Node(
            f"{NAME}-{name}", NAME, name, f"{NAME}-cluster", str(node.address), identity, disks,
            deployment.state / "lab" / "data" / name, deployment.ssh_key.parent,
        )  # fmt: skip
        nodes.ensure(machine)
        podman("network", "connect", "--ip", str(node.management_address), f"{NAME}-management", machine.container)
        podman("exec", machine.container, "sh", "-c", _CLOCK)
        # As udev names the disks of a real machine, also after a restart.
        links = "\n".join(f"L+ {by_id(name, index)} - - - - {path}" for index, path in enumerate(disks))
        make = f"echo '{links}' >/etc/tmpfiles.d/disks.conf && systemd-tmpfiles --create /etc/tmpfiles.d/disks.conf"
        podman("exec", machine.container, "sh", "-c", make)
        # From here on the controller has only the operator's input.
        ssh.unpin(deployment.known_hosts, str(node.address))
    used = disk(deployment, *USED)
    subprocess.run(["mkfs.ext4", "-q", used], check=True, capture_output=True)
    # Where udev of a real machine notes the serial number of a disk.
    number = used.removeprefix("/dev/loop")
    note = f"mkdir -p /run/udev/data && echo E:ID_SERIAL_SHORT={SERIAL} >/run/udev/data/b7:{number}"
    podman("exec", f"{NAME}-{USED[0]}", "sh", "-c", note)
    return deployment


def pin(deployment: Deployment, *names: str) -> None:
    """Pin the machines' host keys, as an operator does after comparing them."""
    for name in names:
        key = (deployment.ssh_key.parent / "hosts" / name / "ssh_host_ed25519_key.pub").read_text(encoding="utf-8")
        ssh.pin(deployment.known_hosts, str(deployment.settings.sites["main"].management_address(name)), key)


def refused(*words: str) -> list[str]:
    """Run ``hapacs``, which has to refuse before any change, and return the problems that it prints."""
    done = made.hapacs(*words)
    assert done.returncode == ExitCode.REFUSED, made.output(done)
    assert "Nothing was touched" in done.stderr
    return [line for line in done.stderr.splitlines() if line.lstrip().startswith("pacs")]


def test_all_unreachable_machines_are_named_at_once(deployment: Deployment) -> None:
    problems = refused("plan", deployment.name)
    assert [problem.split()[0] for problem in problems] == ["pacs1", "pacs2", "pacs3"]
    assert all("can't be reached by SSH at 10.89.74.1" in problem for problem in problems)


def test_missing_requirements_are_reported_before_any_change(machines: Deployment) -> None:
    pin(machines, "pacs1", "pacs2")
    held, unknown = refused("up", machines.name)
    assert f"{by_id(*USED)} ({SERIAL}) holds data (ext4)" in held
    assert f"add '{SERIAL}' to sites.main.nodes.pacs1.wipe_serials" in held
    assert unknown.split()[0] == "pacs3"
    assert "its host key is not known" in unknown
    # The disk is unchanged.
    found = subprocess.run(
        ["blkid", "--probe", disk(machines, *USED)], check=True, capture_output=True, text=True
    ).stdout
    assert 'TYPE="ext4"' in found


def test_up_succeeds_once_the_settings_allow_wiping_the_disk(machines: Deployment) -> None:
    pin(machines, "pacs3")
    values = yaml.safe_load((machines.directory / "settings.yaml").read_text(encoding="utf-8"))
    values["sites"]["main"]["nodes"][USED[0]]["wipe_serials"] = [SERIAL]
    made.write(values)
    done = made.hapacs("plan", NAME)
    assert done.returncode == ExitCode.OK, made.output(done)
    done = made.hapacs("up", NAME)
    assert done.returncode == ExitCode.OK, made.output(done)
    assert f"{NAME} is up and verified" in done.stdout


def test_machine_is_reached_through_its_management_network_only(machines: Deployment) -> None:
    node = machines.settings.sites["main"].nodes["pacs2"]
    # Another node may not connect: its address is in the cluster network only.
    words = f"timeout 3 bash -c '</dev/tcp/{node.address}/22'"
    with pytest.raises(LabError):
        podman("exec", f"{NAME}-pacs1", "bash", "-c", words)
    words = f"timeout 3 bash -c '</dev/tcp/{node.management_address}/22'"
    podman("exec", f"{NAME}-pacs1", "bash", "-c", words)


@pytest.mark.usefixtures("machines")
def test_disks_belong_to_the_das_of_their_machine() -> None:
    done = made.hapacs("plan", NAME, "--json")
    assert done.returncode == ExitCode.OK, made.output(done)
    assert json.loads(done.stdout)["changes"] == []


def test_down_leaves_existing_machines_unchanged(machines: Deployment) -> None:
    done = made.hapacs("down", NAME, "--confirm", NAME)
    assert done.returncode == ExitCode.OK, made.output(done)
    assert podman("exec", f"{NAME}-pacs1", "systemctl", "is-active", "orthanc-store") == "active"
    assert machines.ssh_key.exists()
