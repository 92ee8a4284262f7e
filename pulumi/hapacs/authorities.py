"""The authorities of a deployment in its tree, encrypted: with the age key they come back on an empty machine.

``inventories/<name>/authorities.sops.yaml`` has the certificate and the key of each. The keys are encrypted with a
secret already, and the file once more for the age key. A hospital commits it beside the secrets; the lab's is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hapacs import pki, secrets
from hapacs.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path

    from hapacs.deployment import Deployment

# The certificate is written last: its presence means that the authority is complete.
_FILES = ("ca.key", "ca.crt")


def keep(deployment: Deployment) -> bool:
    """Write the authorities of the controller into the tree, if it has others or fewer; return whether it was written.

    Raises
    ------
    HapacsError
        When the age key does not open the file.
    """
    there = {name: _read(deployment.pki_directory / name) for name in pki.AUTHORITIES}
    complete = {name: files for name, files in there.items() if set(files) == set(_FILES)}
    known = _kept(deployment)
    wanted = known | complete
    if wanted == known:
        return False
    secrets.seal(deployment, deployment.authorities_file, wanted)
    return True


def bring_back(deployment: Deployment) -> list[str]:
    """Write the authorities of the tree to a controller that does not have them, and return their names.

    Raises
    ------
    RefusedError
        When the controller has an authority of this name that is another one: neither is replaced.
    """
    known = _kept(deployment)
    missing = []
    for name, files in known.items():
        there = _read(deployment.pki_directory / name)
        if "ca.crt" not in there:
            missing.append(name)
        elif there["ca.crt"] != files["ca.crt"]:
            raise RefusedError(
                f"The authority {name} in {deployment.pki_directory} is another one than in "
                f"{deployment.authorities_file}.",
                "Find out which one the nodes trust (/etc/*/tls/ca-*.crt there), and remove the other one: the "
                f"directory {name} of the controller, or the file (`hapacs up` writes it again).",
            )
    for name in missing:
        directory = deployment.pki_directory / name
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in _FILES:
            pki.write(directory / file, known[name][file].encode(), 0o600 if file == "ca.key" else 0o644)
    return missing


def _kept(deployment: Deployment) -> dict[str, dict[str, str]]:
    file = deployment.authorities_file
    return secrets.unseal(deployment, file) if file.exists() else {}


def _read(directory: Path) -> dict[str, str]:
    return {file: (directory / file).read_text("ascii") for file in _FILES if (directory / file).exists()}
