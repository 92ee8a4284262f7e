"""HTTPS to Patroni and etcd with the certificates of this node, shared by the scripts beside this file."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.request
from pathlib import Path
from typing import Any

import yaml

CONFIGURATION = Path("/etc/patroni/hapacs.yml")
TIMEOUT_S = 5.0


def configuration() -> dict[str, Any]:
    """Return the configuration of this node's Patroni."""
    found: dict[str, Any] = yaml.safe_load(CONFIGURATION.read_text())
    return found


def ask(
    url: str,
    tls: dict[str, str],
    body: dict[str, Any] | None = None,
    *,
    login: tuple[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Any:
    """Return what a service behind TLS with client certificates answers: JSON, or else text.

    Raises
    ------
    OSError
        When it does not answer, or refuses.
    """
    context = ssl.create_default_context(cafile=tls["ca"])
    context.load_cert_chain(tls["certificate"], tls["key"])
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=content, headers={"Content-Type": "application/json"})  # noqa: S310 - https
    if login is not None:
        request.add_header("Authorization", f"Basic {base64.b64encode(':'.join(login).encode()).decode()}")
    with urllib.request.urlopen(request, timeout=timeout_s, context=context) as answer:  # noqa: S310 - https
        text = answer.read().decode()
    try:
        return json.loads(text)
    except ValueError:
        return text


def patroni_tls(configured: dict[str, Any]) -> dict[str, str]:
    """Return the files with which this node asks a Patroni."""
    ctl = configured["ctl"]
    return {"ca": ctl["cacert"], "certificate": ctl["certfile"], "key": ctl["keyfile"]}


def etcd_tls(configured: dict[str, Any]) -> dict[str, str]:
    """Return the files with which this node asks etcd."""
    etcd = configured["etcd3"]
    return {"ca": etcd["cacert"], "certificate": etcd["cert"], "key": etcd["key"]}


def members(configured: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the cluster's members as this node's Patroni sees them."""
    url = f"https://{configured['restapi']['connect_address']}/cluster"
    found: list[dict[str, Any]] = ask(url, patroni_tls(configured))["members"]
    return found
