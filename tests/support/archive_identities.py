"""The identities that a gateway of the archive knows, as the role seaweedfs writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).resolve().parents[2] / "ansible/roles/seaweedfs"
GIVEN = {
    "seaweedfs_bucket": "archive",
    "seaweedfs_node_access_key": "node", "seaweedfs_node_secret_key": "node-secret",
    "seaweedfs_node_former_keys": [{"access_key": "old", "secret_key": "old-secret"}],
    "seaweedfs_reader_access_key": "reader", "seaweedfs_reader_secret_key": "reader-secret",
    "seaweedfs_reader_former_keys": [],
}  # fmt: skip


def _trusted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_trusted(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


def identities() -> dict[str, Any]:
    """Return what is in identities.json."""
    variables = _trusted(yaml.safe_load((ROLE / "vars/main.yml").read_text())) | GIVEN
    template = trust_as_template((ROLE / "templates/identities.json.j2").read_text())
    found: dict[str, Any] = json.loads(Templar(DataLoader(), variables=variables).template(template))
    return found
