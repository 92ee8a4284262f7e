"""What one node says of itself; sent to the node and run there as root by Debian's own Python, so it imports only that.

Prints one JSON object: services, addresses, database role, file systems, the balancer's view of the storing Orthancs.
"""

import contextlib
import json
import shutil
import socket
import subprocess
from pathlib import Path

SERVICES = ("etcd*", "patroni*", "seaweedfs*", "orthanc*", "haproxy*", "keepalived*", "hapacs*", "prometheus*")
BALANCER_SOCKETS = ("/run/haproxy/admin.sock", "/run/haproxy/haproxy.sock")


def run(*command: str) -> str:
    """Return what a command prints, or nothing when it cannot run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def services() -> dict[str, str]:
    """Return the state of each service of ours that is meant to run."""
    units = json.loads(run("systemctl", "list-units", "--all", "--type=service", "--output=json", *SERVICES) or "[]")
    return {
        unit["unit"].removesuffix(".service"): unit["active"]
        for unit in units
        if unit["load"] == "loaded" and not (unit["active"] == "inactive" and unit["sub"] == "dead")
    }


def database_role() -> str:
    """Return leader, replica, or nothing where no database answers."""
    words = [
        "psql",
        "--no-psqlrc",
        "--tuples-only",
        "--no-align",
        "--command",
        "select pg_is_in_recovery()",
        "postgres",
    ]
    answer = run("runuser", "-u", "postgres", "--", *words).strip()
    return {"f": "leader", "t": "replica"}.get(answer, "")


def space(path: str) -> dict[str, int] | None:
    """Return total and free bytes of a mounted file system."""
    if not Path(path).is_dir():
        return None
    usage = shutil.disk_usage(path)
    return {"total_bytes": usage.total, "free_bytes": usage.free}


def used_bytes(path: str) -> int:
    """Return the bytes of the files below a directory."""
    total = 0
    for directory, _, names in Path(path).walk():
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # files come and go while we look
                total += (directory / name).lstat().st_blocks * 512
    return total


def balancer() -> list[dict[str, str]]:
    """Return the balancer's servers with their state, as its statistics say."""
    for path in BALANCER_SOCKETS:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(path)
                connection.sendall(b"show stat\n")
                text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        except OSError:
            continue
        lines = [line.split(",") for line in text.lstrip("# ").splitlines() if line]
        rows = [dict(zip(lines[0], line, strict=False)) for line in lines[1:]]
        keys = ("pxname", "svname", "status", "act", "bck", "scur", "stot")
        return [
            {key: row.get(key, "") for key in keys} for row in rows if row.get("svname") not in {"FRONTEND", "BACKEND"}
        ]
    return []


if __name__ == "__main__":
    print(  # noqa: T201 - this is the answer
        json.dumps(
            {
                "services": services(),
                "addresses": [
                    address["local"]
                    for link in json.loads(run("ip", "-json", "address") or "[]")
                    for address in link["addr_info"]
                    if address["scope"] == "global"
                ],
                "database": database_role(),
                "das": space("/srv/das") if Path("/srv/das").is_mount() else None,
                "data": space("/srv/data"),
                "cas_used_bytes": used_bytes("/srv/data/cas"),
                "balancer": balancer(),
            }
        )
    )
