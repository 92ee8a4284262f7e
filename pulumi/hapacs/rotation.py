"""New values for secrets, by kind. The playbook ansible/playbooks/rotate.yml rolls them out to the services."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hapacs import authorities, secrets
from hapacs.errors import HapacsError, RefusedError
from hapacs.pki import AUTHORITIES, Authority

if TYPE_CHECKING:
    from hapacs.deployment import Deployment

KINDS: Mapping[str, tuple[str, ...]] = {
    "database": ("postgres_superuser", "postgres_replication", "postgres_rewind"),
    "pacs": ("postgres_pacs",),
    "cas": ("postgres_cas",),
    "patroni": ("patroni_rest",),
    "archive-node": ("cas_node_access_key", "cas_node_secret_key", "cas_reader_access_key", "cas_reader_secret_key"),
    "archive-tokens": ("cas_jwt_signing", "cas_jwt_filer_signing", "cas_jwt_filer_read"),
    "dicomweb": ("dicomweb_users",),
    "statistics": ("statistics_password",),
    "probe": ("dicomweb_probe",),
    "pki": ("pki_passphrase",),
}
"""Secrets that are changed together, by kind; names without ``hapacs_secret_``."""

FORMER_NODE_KEYS: Mapping[str, str] = {
    "node": "hapacs_secret_cas_node_former",
    "reader": "hapacs_secret_cas_reader_former",
}
"""Former keys during a rotation, by identity."""
FORMER_PASSPHRASE = "hapacs_secret_pki_former_passphrase"  # noqa: S105 - a name
_REFUSED = {
    "backup": "It encrypts the backups that exist: with another value they can't be read (docs/operations/backup.md).",
    "pulumi": "Pulumi's state is encrypted with its passphrase: change both at once with `pulumi stack "
    "change-secrets-provider passphrase` (docs/operations/rotate.md).",
    "routing": "Other systems choose the passwords of destinations: change them with sops, then run `hapacs up` "
    "(docs/operations/routing.md).",
    "monitoring": "Other systems choose the passwords of receivers: change them with sops, then run `hapacs up` "
    "(docs/operations/monitoring.md).",
}


def names(kind: str) -> list[str]:
    """Return the names of the secrets of a kind.

    Raises
    ------
    RefusedError
        When there is no such kind, or its secrets are changed by another procedure.
    """
    if kind not in KINDS:
        hint = _REFUSED.get(kind, f"There are {', '.join(KINDS)}.")
        raise RefusedError(f"Secrets of the kind {kind!r} are not rotated.", hint)
    return [f"hapacs_secret_{name}" for name in KINDS[kind]]


def begin(deployment: Deployment, kind: str, user: str = "verify") -> list[str]:
    """Make and save new values; return the names of the secrets that changed.

    Keys of the archive's clients keep their former value beside the new one until `end`, since gateways accept both
    meanwhile. After an interrupted rotation of them its values are used again.

    Parameters
    ----------
    user
        The DICOMweb user whose password changes.
    """
    wanted = names(kind)
    if kind == "pki":
        _passphrase(deployment)
        return wanted
    secrets.replace(deployment, _changes(kind, wanted, user))
    return [*wanted, *FORMER_NODE_KEYS.values()] if kind == "archive-node" else wanted


def end(deployment: Deployment, kind: str) -> None:
    """Remove former values, which no service uses any more."""
    if kind == "archive-node":
        secrets.replace(deployment, lambda _: dict.fromkeys(FORMER_NODE_KEYS.values()))


def _changes(kind: str, wanted: list[str], user: str) -> Callable[[dict[str, Any]], Mapping[str, object]]:
    def change(present: dict[str, Any]) -> Mapping[str, object]:
        if kind == "dicomweb":
            users = dict(present[wanted[0]])
            if user not in users:
                raise RefusedError(f"DICOMweb has no user {user!r}.", f"There are {', '.join(sorted(users))}.")
            return {wanted[0]: users | {user: secrets.password()}}
        if kind == "archive-node":
            new: dict[str, object] = {}
            for identity, former in FORMER_NODE_KEYS.items():
                if former not in present:
                    keys = {key: f"hapacs_secret_cas_{identity}_{key}" for key in ("access_key", "secret_key")}
                    new[former] = {key: present[name] for key, name in keys.items()}
                    new |= {name: secrets.SECRETS[name]() for name in keys.values()}
            return new
        return {name: secrets.SECRETS[name]() for name in wanted}

    return change


def _passphrase(deployment: Deployment) -> None:
    """Encrypt the authorities' keys with another passphrase; if it is interrupted, the next run finishes it."""
    name = "hapacs_secret_pki_passphrase"

    def change(present: dict[str, Any]) -> Mapping[str, object]:
        if FORMER_PASSPHRASE in present:
            return {}
        return {FORMER_PASSPHRASE: present[name], name: secrets.SECRETS[name]()}

    secrets.replace(deployment, change)
    present = secrets.read(deployment)
    for authority in AUTHORITIES:
        if not (deployment.pki_directory / authority / "ca.key").exists():
            raise HapacsError(
                f"The authority {authority} has no key in {deployment.pki_directory}.",
                "Restore it from your backup of the state directory, then run this again.",
            )
        Authority(deployment.pki_directory, authority, present[name]).reencrypt(present[FORMER_PASSPHRASE])
    authorities.keep(deployment)
    secrets.replace(deployment, lambda _: {FORMER_PASSPHRASE: None})
