"""Finds leftovers of a lab on the machine where it ran."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hapacs.deployment import Deployment
from hapacs.targets.lab.namespace import NAMESPACE
from hapacs.targets.lab.podman import LABEL, leave, podman


def of(deployment: Deployment) -> dict[str, list[str]]:
    """Return the resources of a deployment on this machine by kind; empty lists when there are none."""
    name, state = deployment.name, str(deployment.state)
    mine = f"label={LABEL}={name}"
    # Before podman runs, which mounts its namespace again.
    mounts = _mounts()
    all_containers = podman("ps", "--all", "--format", "{{.Names}}").split()
    all_networks = podman("network", "ls", "--format", "{{.Name}}").split()
    # The namespace stays as long as any container uses it.
    namespace = (f" {NAMESPACE.directory} ", f" {NAMESPACE.directory}/")
    belongs = (state,) if all_containers else (state, *namespace)
    found = {
        "containers": sorted(
            {
                *podman("ps", "--all", "--filter", mine, "--format", "{{.Names}}").split(),
                *(container for container in all_containers if container.startswith(f"{name}-")),
            }
        ),
        "networks": sorted(
            {
                *podman("network", "ls", "--filter", mine, "--format", "{{.Name}}").split(),
                *(network for network in all_networks if network.startswith(f"{name}-")),
            }
        ),
        "addresses": _addresses(deployment),
        "loop devices": [entry for entry in _backing_files() if entry.startswith(state)],
        "mounts": [line for line in mounts if any(word in line for word in belongs)],
        "files": [str(path) for path in (deployment.state, deployment.secrets_file) if path.exists()],
        "processes": _processes(state),
    }
    leave()
    return found


def _addresses(deployment: Deployment) -> list[str]:
    """Return the gateways of the sites that an interface of this machine still has."""
    gateways = {str(site.networks.gateway) for site in deployment.settings.sites.values()}
    shown = subprocess.run(["ip", "-brief", "address"], capture_output=True, text=True, check=True).stdout
    return [line for line in shown.splitlines() if any(f" {gateway}/" in line for gateway in gateways)]


def _backing_files() -> list[str]:
    found = []
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found.append(entry.read_text(encoding="utf-8").strip())
        except OSError:  # detached meanwhile
            continue
    return found


def _mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()


def _processes(state: str) -> list[str]:
    """Return the processes whose command line names the state directory: connections, engines."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # ended meanwhile
            continue
        if state in words:
            found.append(words.strip())
    return found
