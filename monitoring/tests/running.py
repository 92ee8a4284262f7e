"""A real Alertmanager on the loopback, with a configuration of the test."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from hapacs.pki import Authority, Subject

_START_S = 30
_SHARE = Path("/usr/share")


def free_port() -> int:
    """Return a port of the loopback that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass(frozen=True)
class Alertmanager:
    """One that runs; `client` talks to it as a test does."""

    url: str
    client: httpx.Client

    def fire(self, *alerts: Mapping[str, str], ended: bool = False) -> None:
        """Raise alerts as Prometheus does, or say that they have ended."""
        now = datetime.now(UTC)
        ends = now - timedelta(seconds=1) if ended else now + timedelta(minutes=5)
        documents = [
            {
                "labels": dict(labels),
                "annotations": {"summary": f"{labels['alertname']} of the test", "runbook": "docs/runbooks/x.md"},
                # Just now: the first message waits for `group_wait` from here on, and an end has to be later.
                "startsAt": (now - timedelta(seconds=2)).isoformat(),
                "endsAt": ends.isoformat(),
            }
            for labels in alerts
        ]
        self.client.post(f"{self.url}/api/v2/alerts", json=documents).raise_for_status()

    def active(self) -> set[str]:
        """Return the names of the alerts that it would send."""
        query = {"active": "true", "silenced": "false", "inhibited": "false"}
        found = self.client.get(f"{self.url}/api/v2/alerts", params=query).raise_for_status().json()
        return {f"{one['labels']['alertname']} {one['labels'].get('node', '')}".strip() for one in found}

    def silences(self) -> list[dict[str, Any]]:
        """Return the silences that have not ended."""
        found: list[dict[str, Any]] = self.client.get(f"{self.url}/api/v2/silences").raise_for_status().json()
        return [one for one in found if one["status"]["state"] != "expired"]


@contextmanager
def running(
    program: Path, directory: Path, configuration: str, tls: tuple[Path, ssl.SSLContext] | None = None
) -> Iterator[Alertmanager]:
    """Run one until the block ends.

    Parameters
    ----------
    tls
        Its configuration of TLS, and what a client needs then.
    """
    file = directory / "alertmanager.yml"
    file.write_text(configuration, encoding="utf-8")
    port = free_port()
    command = [
        *_with_templates(program), str(program), f"--config.file={file}",
        f"--storage.path={directory / 'data'}", "--cluster.listen-address=",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
        *([f"--web.config.file={tls[0]}"] if tls else []),
    ]  # fmt: skip
    one = Alertmanager(f"{'https' if tls else 'http'}://127.0.0.1:{port}", httpx.Client(verify=tls[1] if tls else True))
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _wait(one, process, directory / "log")
            yield one
        finally:
            process.kill()
            one.client.close()


def certified(directory: Path) -> tuple[Path, ssl.SSLContext]:
    """Return TLS as the role alertmanager configures it: it wants a certificate of the authority `monitoring`."""
    authority = Authority(directory / "pki", "monitoring", "passphrase-of-the-test")
    authority.ensure()
    day = timedelta(days=1)
    node, controller = directory / "pki" / "node", directory / "pki" / "controller"
    authority.issue(node, Subject("node", ("IP:127.0.0.1",)), day, day / 2)
    authority.issue(controller, Subject("controller", usages=("client",)), day, day / 2)
    web = directory / "web.yml"
    web.write_text(
        f"tls_server_config: {{cert_file: {node}.crt, key_file: {node}.key, min_version: TLS12,"
        f" client_ca_file: {authority.certificate_file}, client_auth_type: RequireAndVerifyClientCert}}\n",
        encoding="utf-8",
    )
    context = ssl.create_default_context(cafile=str(authority.certificate_file))
    context.load_cert_chain(f"{controller}.crt", f"{controller}.key")
    return web, context


def _with_templates(program: Path) -> list[str]:
    """Return what gives an unpacked program its templates: Debian's looks for them below /usr/share only."""
    share = program.parents[1] / "share"
    if share == _SHARE or (_SHARE / "prometheus" / "alertmanager").is_dir():
        return []
    # In a mount namespace of its own: nobody else sees it.
    mount = f'mount -t overlay -o "lowerdir={share}:{_SHARE}" overlay {_SHARE} && exec "$@"'
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *user, "--mount", "--propagation", "private", "sh", "-c", mount, "sh"]


def _wait(one: Alertmanager, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            one.client.get(f"{one.url}/-/ready").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"Alertmanager did not start: {log.read_text(encoding='utf-8')}")
