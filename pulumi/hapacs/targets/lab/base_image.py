"""The image that nodes of the lab start from when nothing is baked yet: a bare Debian 13 with systemd and SSH."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from hapacs import debian
from hapacs.targets.lab.podman import LabError, inspect, podman

REPOSITORY = "localhost/hapacs/base"
_PACKAGES = (
    "ca-certificates", "dbus", "iproute2", "openssh-server", "procps", "python3", "python3-apt", "sudo", "systemd",
    "systemd-sysv",
)  # fmt: skip
# Units that only make sense on hardware or on a machine that somebody sits at.
_MASKED = (
    "apt-daily-upgrade.timer", "apt-daily.timer", "console-getty.service", "dev-hugepages.mount", "e2scrub_all.timer",
    "getty.target", "sys-kernel-config.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
    "systemd-binfmt.service", "systemd-firstboot.service", "systemd-modules-load.service",
    "systemd-networkd.service", "systemd-networkd.socket", "systemd-remount-fs.service", "systemd-udevd.service",
    "systemd-udevd-control.socket", "systemd-udevd-kernel.socket",
)  # fmt: skip
# Runs in the finished tree ($1) before it is packed.
_CUSTOMISE = f"""
set -e
chroot "$1" useradd --uid 1000 --create-home --shell /bin/bash hapacs
echo 'hapacs ALL=(ALL) NOPASSWD: ALL' >"$1/etc/sudoers.d/hapacs"
chmod 0440 "$1/etc/sudoers.d/hapacs"
mkdir -p "$1/etc/systemd/journald.conf.d" "$1/srv/data"
printf '%s\\n' '[Journal]' Storage=persistent SystemMaxUse=64M ReadKMsg=no >"$1/etc/systemd/journald.conf.d/10-lab.conf"
for unit in {" ".join(_MASKED)}; do ln -sf /dev/null "$1/etc/systemd/system/$unit"; done
rm -f "$1"/etc/ssh/ssh_host_*
: >"$1/etc/machine-id"
"""


def tag() -> str:
    """Return the name of the image; it changes with what goes into it."""
    content = "\n".join([debian.SUITE, *_PACKAGES, _CUSTOMISE])
    return f"{REPOSITORY}:{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def ensure() -> str:
    """Build the image unless it is there, and return its name."""
    name = tag()
    if inspect("image", name) is not None:
        return name
    if shutil.which("mmdebstrap") is None:
        raise LabError("mmdebstrap is not installed.", "Run `make setup`, which installs what the lab needs.")
    # mmdebstrap drops root for the download: the directory must let others through.
    with tempfile.TemporaryDirectory(prefix="hapacs-base-") as temporary:
        directory = Path(temporary)
        hook = directory / "customise"
        hook.write_text(f"#!/bin/sh{_CUSTOMISE}", encoding="utf-8")
        hook.chmod(0o755)
        archive = directory / "base.tar"
        command = [
            "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(_PACKAGES)}",
            f"--customize-hook={hook}", debian.SUITE, str(archive), *debian.mirror(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise LabError(
                f"The base image cannot be built: {done.stderr.strip()[-1500:]}",
                "mmdebstrap needs a Debian mirror: check this machine's network and apt sources.",
            )
        podman("import", "--quiet", "--change", 'CMD ["/sbin/init"]', str(archive), name)
    prune(REPOSITORY, name)
    return name


def prune(repository: str, keep: str) -> None:
    """Remove the older images of a repository that no container uses."""
    for name in podman("images", "--format", "{{.Repository}}:{{.Tag}}", repository).split():
        if name != keep and not podman("ps", "--all", "--quiet", "--filter", f"ancestor={name}"):
            # Another command may have removed it meanwhile.
            podman("rmi", "--ignore", name)
