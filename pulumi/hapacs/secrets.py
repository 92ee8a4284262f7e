"""Secrets of a deployment: generated once, stored encrypted with SOPS and age, decrypted only in memory.

``inventories/<name>/group_vars/all/secrets.sops.yaml`` holds them. The key that opens it is ``<state>/age.key`` (mode
0600), or the file that ``HAPACS_AGE_KEY_FILE`` names. A hospital commits the encrypted file, copies the key to each
operator's controller and keeps another copy off-line: without it the secrets are lost. The lab's file is not committed.
"""

from __future__ import annotations

import json
import re
import secrets as random
import shutil
import string
import subprocess
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hapacs.errors import HapacsError, RefusedError

if TYPE_CHECKING:
    from pathlib import Path

    from hapacs.deployment import Deployment

_ALPHABET = string.ascii_letters + string.digits


def password() -> str:
    """Return a new password."""
    # Letters and digits only: safe in a connection string, a URL and every configuration file. 40 of 62 are 238 bits.
    return "".join(random.choice(_ALPHABET) for _ in range(40))


def _access_key() -> str:
    return "".join(random.choice(string.ascii_uppercase + string.digits) for _ in range(20))


# Functions that generate each secret. The next `hapacs init` adds a new name to existing deployments.
SECRETS: Mapping[str, Callable[[], object]] = {
    "hapacs_secret_pulumi_passphrase": password,
    "hapacs_secret_pki_passphrase": password,
    "hapacs_secret_postgres_superuser": password,
    "hapacs_secret_postgres_replication": password,
    "hapacs_secret_postgres_rewind": password,
    "hapacs_secret_postgres_pacs": password,
    "hapacs_secret_postgres_cas": password,
    "hapacs_secret_patroni_rest": password,
    # Encrypts the backups: with another value the present ones can't be read.
    "hapacs_secret_backup": password,
    "hapacs_secret_cas_node_access_key": _access_key,
    "hapacs_secret_cas_node_secret_key": password,
    "hapacs_secret_cas_reader_access_key": _access_key,
    "hapacs_secret_cas_reader_secret_key": password,
    "hapacs_secret_cas_jwt_signing": password,
    "hapacs_secret_cas_jwt_filer_signing": password,
    "hapacs_secret_cas_jwt_filer_read": password,
    "hapacs_secret_dicomweb_users": lambda: {"verify": password()},
    # Of the DICOMweb user of the probe.
    "hapacs_secret_dicomweb_probe": password,
    "hapacs_secret_statistics_password": password,
    # Passwords and tokens of destinations by name; other systems choose them.
    "hapacs_secret_routing": dict,
    # The mail server's password and tokens of webhooks by name; other systems choose them too.
    "hapacs_secret_monitoring": dict,
}


def ensure(deployment: Deployment) -> list[str]:
    """Generate the missing key and secrets; existing ones are not changed.

    Returns
    -------
    list of str
        The names of the secrets that were made.
    """
    file = deployment.secrets_file
    if file.exists():
        _require_key(deployment)
    recipient = _ensure_key(deployment.age_key)
    present = read(deployment) if file.exists() else {}
    made = [name for name in SECRETS if name not in present]
    if made:
        # JSON is YAML, and sops re-writes it as YAML.
        _write(file, recipient, deployment, present | {name: SECRETS[name]() for name in made})
    return made


def missing(deployment: Deployment) -> list[str]:
    """Return the names of the secrets that `ensure` would make.

    Raises
    ------
    HapacsError
        If the deployment has none yet, or the key does not open them.
    """
    present = read(deployment)
    return [name for name in SECRETS if name not in present]


def replace(deployment: Deployment, change: Callable[[dict[str, Any]], Mapping[str, object]]) -> None:
    """Write the secrets again with some of them changed; one whose new value is None is removed.

    Parameters
    ----------
    change
        Called with all secrets; returns the new values of those that change.
    """
    present = read(deployment)
    changed = present | dict(change(present))
    kept = {name: value for name, value in changed.items() if value is not None}
    seal(deployment, deployment.secrets_file, kept)


def read(deployment: Deployment) -> dict[str, Any]:
    """Decrypt the secrets.

    Raises
    ------
    HapacsError
        If there are none yet, or the key does not open them.
    """
    file = deployment.secrets_file
    if not file.exists():
        raise RefusedError(
            f"The deployment {deployment.name!r} has no secrets yet.",
            f"Run `hapacs init {deployment.name}` first: it makes them, and the key that opens them.",
        )
    return unseal(deployment, file)


def unseal(deployment: Deployment, file: Path) -> dict[str, Any]:
    """Decrypt a file of the deployment.

    Raises
    ------
    HapacsError
        If the key does not open it.
    """
    _require_key(deployment)
    command = ["--decrypt", "--input-type", "yaml", "--output-type", "json", str(file)]
    plain: dict[str, Any] = json.loads(_sops(deployment, file, command))
    return plain


def seal(deployment: Deployment, file: Path, content: dict[str, Any]) -> None:
    """Write a file of the deployment that only its age key opens."""
    _write(file, _ensure_key(deployment.age_key), deployment, content)


def _require_key(deployment: Deployment) -> None:
    if not deployment.age_key.exists():
        raise RefusedError(
            f"The age key of {deployment.name!r} is missing: {deployment.age_key} does not exist, and without it "
            f"{deployment.secrets_file} cannot be decrypted.",
            "Copy the key there from its off-line copy, or name the file that holds it in HAPACS_AGE_KEY_FILE.",
        )


def _ensure_key(path: Path) -> str:
    """Make the age key unless it is there, and return its public half."""
    if not path.exists():
        if shutil.which("age-keygen") is None:
            raise HapacsError("age-keygen is not installed.", "Run `make setup`, or install the Debian package `age`.")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = path.with_name(f".{path.name}.new")
        made.unlink(missing_ok=True)
        subprocess.run(["age-keygen", "-o", str(made)], check=True, capture_output=True)
        made.chmod(0o600)
        made.replace(path)
    found = re.search(r"^# public key: (age1\w+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise HapacsError(f"{path} is not an age key file.", "Make one with `age-keygen`, or name the right one.")
    return found[1]


def _write(file: Path, recipient: str, deployment: Deployment, content: dict[str, Any]) -> None:
    command = ["--encrypt", "--age", recipient, "--input-type", "json", "--output-type", "yaml", "/dev/stdin"]
    encrypted = _sops(deployment, file, command, json.dumps(content))
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    new.write_text(encrypted, encoding="utf-8")
    new.replace(file)


def _sops(deployment: Deployment, file: Path, words: list[str], stdin: str | None = None) -> str:
    done = subprocess.run(
        ["sops", *words], input=stdin, capture_output=True, text=True, env=deployment.environment(), check=False
    )
    if done.returncode:
        raise HapacsError(
            f"sops failed on {file}: {done.stderr.strip()}",
            f"Check that {deployment.age_key} is the key of this deployment.",
        )
    return done.stdout
