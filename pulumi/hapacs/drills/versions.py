"""What was drilled: the versions, and a digest of the settings."""

from __future__ import annotations

import hashlib
from importlib import metadata

from hapacs.deployment import Deployment


def of(deployment: Deployment) -> dict[str, str]:
    """Return the version of hapacs and the digests of settings and inventory."""
    settings = (deployment.directory / "settings.yaml").read_bytes()
    return {
        "hapacs": metadata.version("hapacs"),
        "settings": hashlib.sha256(settings).hexdigest()[:16],
        "inventory": hashlib.sha256(deployment.contract_file.read_bytes()).hexdigest()[:16],
    }
