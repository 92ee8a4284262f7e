"""Collects the facts of a node; sent there and run as root by Debian's Python, which has the standard library only.

Takes the JSON object that `hapacs.services.nodes.question` returns: the node's ``groups``, the ``units`` that must be
active, ``timeout_s`` for each request to a service, and addresses and commands for the other facts. Prints one JSON
object.
"""

import contextlib
import csv
import json
import shutil
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

BALANCER_SOCKET = "/run/haproxy/admin.sock"
BACKENDS = ("store_dicom", "query_dicom")
# Bits of srv_admin_state in `show servers state` (HAProxy management guide 9.3): a command or the configuration
# keeps new work away from a server. The statistics don't show this while the server is down.
PAUSED = 0x01 | 0x04 | 0x08
DRAINED = Path("/var/lib/hapacs/drained")
CLIENTS = Path("/usr/lib/postgresql")
UNITS = Path("/etc/systemd/system")
RESULTS = Path("/var/lib/hapacs/integrity")
DRILLS = Path("/var/lib/hapacs/drills.json")
# Checks and their units.
CHECKS = {
    "scrub": "hapacs-scrub",
    "reconcile": "hapacs-reconcile",
    "replicas": "seaweedfs-scrub",
    "manifest": "hapacs-manifest",
}
# The role integrity writes it into the unit of a check that the settings turn off.
OFF = "ConditionPathExists=!/"
# Tags of DER: the version of a certificate, and its two kinds of time.
DER_VERSION = 0xA0
DER_TIMES = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}
PROGRAM_LIMIT_S = 20.0
"""Limit for programs that need processor time more than an answer; on a busy node they are slow."""


def run(*command: str, limit_s: float | None = PROGRAM_LIMIT_S) -> tuple[int, str, str]:
    """Return exit code, output and error output of a command."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired as error:
        return 1, "", f"{command[0]} took more than {error.timeout:g} s"
    except OSError as error:
        return 1, "", str(error)
    return done.returncode, done.stdout, done.stderr


def units(names: list[str]) -> dict[str, dict[str, Any]]:
    """Return the state of each unit, and how often systemd restarted it by itself."""
    states = {}
    _, text, _ = run("systemctl", "show", "--property=ActiveState,SubState,NRestarts", *names) if names else (0, "", "")
    # One paragraph for each unit, in the order of the names.
    for name, paragraph in zip_longest(names, text.strip().split("\n\n")[: len(names)], fillvalue=""):
        values = dict(line.split("=", 1) for line in paragraph.splitlines() if "=" in line)
        state = "{ActiveState} ({SubState})".format_map({"ActiveState": "unknown", "SubState": "-", **values})
        states[name] = {
            "active": values.get("ActiveState") == "active",
            "state": state,
            "restarts": int(values.get("NRestarts") or 0),
        }
    return states


def failed_units() -> list[str]:
    """Return all failed units, also those that hapacs does not manage."""
    _, text, _ = run("systemctl", "list-units", "--failed", "--plain", "--no-legend", "--full")
    return [line.split()[0] for line in text.splitlines() if line.strip()]


def listeners() -> dict[int, str]:
    """Return the TCP ports on which a process listens for the network."""
    _, text, _ = run("ss", "--listening", "--tcp", "--numeric", "--no-header")
    found: dict[int, str] = {}
    for line in text.splitlines():
        address, _, port = line.split()[3].rpartition(":")
        address = address.strip("[]").partition("%")[0]
        if not address.startswith("127.") and address != "::1":
            found.setdefault(int(port), address)
    return found


def etcd(address: str, port: int, tls: str) -> dict[str, Any]:
    """Return this node's member of etcd, the member that it follows, and whether it commits, which needs a majority.

    Only the own member is asked: a request to a member that is off would wait for its whole time-out.
    """
    limit = f"{socket.getdefaulttimeout():g}s"
    command = [
        "etcdctl", f"--cacert={tls}/ca-etcd.crt", f"--cert={tls}/server.crt", f"--key={tls}/server.key",
        f"--endpoints=https://{address}:{port}", f"--dial-timeout={limit}", f"--command-timeout={limit}",
        "--write-out=json", "endpoint",
    ]  # fmt: skip
    with ThreadPoolExecutor(max_workers=2) as pool:
        status, health = pool.map(lambda word: run(*command, word), ("status", "health"))
    try:
        (member,), (commits,) = json.loads(status[1]), json.loads(health[1])
    except (ValueError, TypeError):
        return {"error": (status[2] or health[2]).strip()[-300:] or f"etcdctl ended with {status[0]}"}
    found = member["Status"]
    return {"number": found["header"]["member_id"], "leader": found["leader"], "commits": commits["health"]}


def client_tls(authority: str, pair: str) -> ssl.SSLContext:
    """Return the TLS of a client with a certificate of this node; `pair` is its path without ``.crt`` and ``.key``."""
    context = ssl.create_default_context(cafile=authority)
    context.load_cert_chain(f"{pair}.crt", f"{pair}.key")
    return context


def patroni(address: str, port: int, tls: str) -> Any:
    """Return the database cluster as this node's Patroni reports it."""
    try:
        context = client_tls(f"{tls}/ca-postgres.crt", f"{tls}/server")
        with urllib.request.urlopen(f"https://{address}:{port}/cluster", context=context) as answer:
            return json.load(answer)
    except OSError as error:
        return {"error": str(error)}


def client() -> str:
    """Return PostgreSQL's own psql: the one in PATH is a Perl program of Debian that looks for it each time."""
    return str(max(CLIENTS.glob("*/bin/psql"), default="psql"))


def leads() -> bool | None:
    """Return whether the PostgreSQL of this node takes writes; None when it doesn't answer."""
    # setpriv becomes psql, so that a time-out ends psql too; runuser would leave it behind.
    user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups")
    psql = (client(), "--no-psqlrc", "--tuples-only", "--no-align", "--command=select pg_is_in_recovery()", "postgres")
    _, text, _ = run(*user, *psql, limit_s=socket.getdefaulttimeout())
    return {"f": True, "t": False}.get(text.strip())


def problem(check: dict[str, Any]) -> str:
    """Return why a service does not work, or empty.

    `check` has a ``command``, or ``port`` and ``path`` of HTTP, with ``tls`` of HTTPS at the node's ``address``.
    """
    if "command" in check:
        code, text, error = run(*check["command"])
        return "" if code == 0 else (error or text).strip()[-300:] or f"{check['command'][0]} ended with {code}"
    try:
        if not (tls := check.get("tls")):
            with urllib.request.urlopen(f"http://127.0.0.1:{check['port']}{check['path']}"):
                return ""
        context = client_tls(tls["authority"], tls["pair"])
        with urllib.request.urlopen(f"https://{tls['address']}:{check['port']}{check['path']}", context=context):
            return ""
    except urllib.error.HTTPError as error:
        return failed_checks(error) or f"its health is answered {error.code}"
    except OSError as error:
        return str(error)


def failed_checks(answer: urllib.error.HTTPError) -> str:
    """Return the checks that failed, as the storage plugin of Orthanc names them; empty when it does not."""
    try:
        checks = json.load(answer)["checks"]
        return ", ".join(f"{name}: {check['detail']}" for name, check in checks.items() if not check["ok"])[:300]
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def archive_leads(metrics_port: int) -> bool | None:
    """Return whether the SeaweedFS master of this node leads; None when it doesn't answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return None
    return any(line.startswith("SeaweedFS_master_is_leader") and line.endswith(" 1") for line in lines)


def associations(ports: dict[str, int]) -> dict[str, int]:
    """Return the number of DICOM connections of each Orthanc on this node: associations and health checks."""
    counts = {}
    for service, port in ports.items():
        _, text, _ = run("ss", "--numeric", "--tcp", "--no-header", "state", "established", f"sport = :{port}")
        counts[service] = len(text.splitlines())
    return counts


def balancer_says(command: str) -> str:
    """Return HAProxy's answer to a command."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(BALANCER_SOCKET)
        connection.sendall(f"{command}\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def balancer() -> dict[str, Any]:
    """Return the server that the balancer has chosen to store, from its table, and the state of each server.

    The choice is empty until an image was stored. `paused` marks a server that gets no new work.
    """
    try:
        table, statistics = balancer_says("show table store_dicom"), balancer_says("show stat")
        _, *administered = balancer_says("show servers state").splitlines()
    except (OSError, ValueError) as error:
        return {"error": str(error)}
    servers: dict[str, dict[str, Any]] = {backend: {} for backend in BACKENDS}
    paused = {
        (row["be_name"], row["srv_name"]): bool(int(row["srv_admin_state"]) & PAUSED)
        for row in csv.DictReader((line.removeprefix("# ") for line in administered), delimiter=" ")
    }
    names = {}
    for row in csv.DictReader(statistics.removeprefix("# ").splitlines()):
        if row["pxname"] in servers and row["svname"] not in {"FRONTEND", "BACKEND"}:
            servers[row["pxname"]][row["svname"]] = {
                "status": row["status"],
                "sessions": int(row["scur"]),
                "paused": paused.get((row["pxname"], row["svname"]), False),
            }
            names[row["sid"]] = row["svname"]
    chosen = []
    for line in table.splitlines():
        words = dict(word.partition("=")[::2] for word in line.split() if "=" in word)
        if "server_id" in words:
            # An entry that an operation wrote has the number only.
            name = words.get("server_key", "-")
            chosen.append(names.get(words["server_id"], "-") if name in {"", "-"} else name)
    return {"writers": chosen, "servers": servers}


def first_to_end(directories: list[str]) -> dict[str, str] | None:
    """Return the certificate of this node that expires first, with its date; None without certificates."""
    ends = []
    for path in (path for directory in directories for path in Path(directory).glob("*.crt")):
        try:
            ends.append((f"{certificate_end(path.read_text()):%Y-%m-%d %H:%M:%SZ}", str(path)))
        except (OSError, ValueError, IndexError):
            ends.append(("unreadable", str(path)))
    return {"ends": min(ends)[0], "path": min(ends)[1]} if ends else None


def certificate_end(pem: str) -> datetime:
    """Return when the first certificate of a PEM file ends (RFC 5280 4.1).

    A node has about 20 of them, and starting `openssl` for each took a third of the time of all facts.
    """
    der = ssl.PEM_cert_to_DER_cert(pem[pem.index(ssl.PEM_HEADER) : pem.index(ssl.PEM_FOOTER)] + ssl.PEM_FOOTER)
    signed = elements(elements(der)[0][1])[0][1]
    # Without the version, which may be absent: serial number, algorithm, issuer, validity.
    validity = [content for tag, content in elements(signed) if tag != DER_VERSION][3]
    tag, end = elements(validity)[1]
    return datetime.strptime(end.decode(), DER_TIMES.get(tag, "")).replace(tzinfo=UTC)


def elements(der: bytes) -> list[tuple[int, bytes]]:
    """Return the tag and the content of each element (ITU-T X.690 8.1)."""
    found = []
    while der:
        start, length = 2, der[1]
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(der[2:start])
        found.append((der[0], der[start : start + length]))
        der = der[start + length :]
    return found


def mounted(path: str) -> str:
    """Return the type of the file system at a mount point; empty when it is not mounted."""
    _, text, _ = run("findmnt", "--noheadings", "--output", "FSTYPE", "--mountpoint", path)
    return text.strip()


def room() -> dict[str, int]:
    """Return the size of the DAS, its free space, and the size of the archive's files on this node, in bytes."""
    das = shutil.disk_usage("/srv/das")
    used = 0
    for directory, _, names in Path("/srv/data/cas").walk():
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # files are removed meanwhile
                used += (directory / name).lstat().st_blocks * 512
    return {"das_bytes": das.total, "das_free_bytes": das.free, "cas_used_bytes": used}


def database_room() -> dict[str, int]:
    """Return the size of the file system that holds the database, and its free space, in bytes."""
    disk = shutil.disk_usage("/srv/data/postgres")
    return {"bytes": disk.total, "free_bytes": disk.free}


def checks() -> dict[str, dict[str, Any]]:
    """Return of each check of the integrity: whether it is on, since when, and the result of its last run."""
    found = {}
    for check, name in CHECKS.items():
        unit = UNITS / f"{name}.service"
        try:
            on, since = OFF not in unit.read_text().splitlines(), unit.stat().st_mtime
        except OSError:
            continue
        try:
            result = json.loads((RESULTS / f"{check}.json").read_bytes())
        except (OSError, ValueError):
            result = {}
        found[check] = {"on": on, "since": since} | {name: result.get(name) for name in ("ended_at", "failure", "open")}
    return found


def drills() -> dict[str, dict[str, Any]]:
    """Return the last run of each drill, as the controller left it here; none before the first."""
    try:
        found: dict[str, dict[str, Any]] = json.loads(DRILLS.read_bytes())
    except FileNotFoundError:
        return {}
    return found


def addresses() -> list[str]:
    """Return all addresses of this node."""
    return [
        entry["local"] for link in json.loads(run("ip", "-json", "address")[1] or "[]") for entry in link["addr_info"]
    ]


def main() -> None:
    """Collect all facts concurrently: most of the time passes while other programs start and answer."""
    # Says that the node answers; the facts follow.
    sys.stdout.write("\n")
    sys.stdout.flush()
    asked = json.loads(sys.argv[1])
    groups = asked["groups"]
    # For every socket that has no other limit.
    socket.setdefaulttimeout(asked["timeout_s"])
    absent = ("das", "room", "database_room", "balancer", "archive_leads", "etcd", "patroni", "leads", "checks")
    facts: dict[str, Any] = dict.fromkeys(absent) | {"drained": DRAINED.exists()}
    with ThreadPoolExecutor(max_workers=32) as pool:
        health = {unit: pool.submit(problem, check) for unit, check in asked["health"].items()}
        found: dict[str, Future[Any]] = {
            "units": pool.submit(units, asked["units"]),
            "failed": pool.submit(failed_units),
            "listeners": pool.submit(listeners),
            "addresses": pool.submit(addresses),
            "firewall": pool.submit(lambda: run("nft", "list", "table", "inet", "hapacs")[0] == 0),
            "associations": pool.submit(associations, asked["dicom_ports"]),
            "certificate": pool.submit(first_to_end, asked["certificates"]),
        }
        if "pacs" in groups:
            found |= {
                "das": pool.submit(mounted, "/srv/das"),
                "room": pool.submit(room),
            }
        if {"pacs", "cas"} & set(groups):
            found["checks"] = pool.submit(checks)
        if "postgres" in groups:
            found["database_room"] = pool.submit(database_room)
        if "load_balancer" in groups:
            found["balancer"] = pool.submit(balancer)
        if "master_metrics_port" in asked:
            found["archive_leads"] = pool.submit(archive_leads, asked["master_metrics_port"])
        if "etcd" in asked:
            found["etcd"] = pool.submit(etcd, asked["address"], **asked["etcd"])
        if "patroni" in asked:
            found |= {
                "patroni": pool.submit(patroni, asked["address"], **asked["patroni"]),
                "leads": pool.submit(leads),
            }
        facts |= {name: answer.result() for name, answer in found.items()}
        facts["health"] = {unit: answer.result() for unit, answer in health.items()}
    json.dump(facts, sys.stdout)


if __name__ == "__main__":
    main()
