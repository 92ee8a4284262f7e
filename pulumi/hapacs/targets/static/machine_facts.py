"""Reports the facts of a machine; sent there and run as root by Debian's own Python, so it imports only that.

Takes a JSON list of the devices to look at, and prints one JSON object. It changes nothing.
"""

import json
import os
import platform
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NOTHING_FOUND = 2
"""Exit code of blkid for a device without any signature."""

COLUMNS = "NAME,TYPE,SIZE,RO,SERIAL,MOUNTPOINTS"


def run(*command: str) -> tuple[int, str]:
    """Return exit code and output of a command."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout


def release() -> dict[str, str]:
    """Return what the operating system calls itself (os-release(5))."""
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    return {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in lines)}


def memory_bytes() -> int:
    """Return the machine's memory."""
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return int(values["MemTotal"].split()[0]) * 1024


def addresses() -> list[str]:
    """Return the machine's IPv4 addresses."""
    _, text = run("ip", "-json", "-4", "address", "show")
    return [entry["local"] for link in json.loads(text) for entry in link.get("addr_info", [])]


def below(device: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is made of a device: partitions, volumes, and what is made of those."""
    children: list[dict[str, Any]] = device.get("children", [])
    return children + [found for child in children for found in below(child)]


def disk(device: str) -> dict[str, Any]:
    """Return what is known of a device, and what is on it, read from the device and not from a cache."""
    path = os.path.realpath(device)
    try:
        block = stat.S_ISBLK(Path(path).stat().st_mode)
    except OSError:
        return {"there": False}
    code, text = run("lsblk", "--json", "--bytes", "--output", COLUMNS, path) if block else (1, "")
    if code:
        return {"there": True, "block": False}
    found = json.loads(text)["blockdevices"][0]
    code, text = run("blkid", "--probe", "--output", "export", path)
    signature = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    parts = below(found)
    return {
        "there": True,
        "block": True,
        "path": path,
        "kind": found["type"],
        "size_bytes": int(found["size"]),
        "read_only": bool(found["ro"]),
        "serial": (found["serial"] or "").strip(),
        # Several signatures at once are what blkid calls ambivalent: then it names none of them.
        "content": signature.get("TYPE") or signature.get("PTTYPE") or ("" if code == NOTHING_FOUND else "unknown"),
        "label": signature.get("LABEL", ""),
        "uuid": signature.get("UUID", ""),
        "parts": [part["name"] for part in parts],
        "mounts": [mount for part in [found, *parts] for mount in part["mountpoints"] if mount],
    }


def main() -> None:
    """Look at everything."""
    devices = json.loads(sys.argv[1])
    system = release()
    facts = {
        "system": system.get("ID", ""),
        "version": system.get("VERSION_ID", ""),
        "architecture": platform.machine(),
        "memory_bytes": memory_bytes(),
        "machine_id": Path("/etc/machine-id").read_text(encoding="ascii").strip(),
        "addresses": addresses(),
        "disks": {device: disk(device) for device in devices},
        # Last, so that it is as near as can be to when the answer arrives.
        "time": time.time(),
    }
    json.dump(facts, sys.stdout)


if __name__ == "__main__":
    main()
