"""Files and directories of one deployment on the controller.

Settings and encrypted secrets are in the tree (``inventories/<name>/``); generated files (Pulumi state,
contract, keys, logs, lab disks) are outside of it. Two variables move them, so that tests are isolated:
``HAPACS_STATE_DIR`` (must be kept) and ``HAPACS_CACHE_DIR`` (safe to delete).
"""

from __future__ import annotations

import difflib
import fcntl
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hapacs.errors import RefusedError

if TYPE_CHECKING:
    from hapacs.settings import Settings

PULUMI_VERSION = "3.259.0"
PROJECT = Path(__file__).resolve().parents[2]
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_NAME_RULE = "A name has 1 to 31 lower-case letters, digits and hyphens, and begins with a letter."


def _directory(variable: str, xdg: str, fallback: str) -> Path:
    if given := os.environ.get(variable):
        return Path(given).absolute()
    base = os.environ.get(xdg)
    return (Path(base) if base else Path.home() / fallback) / "hapacs"


def cache_directory() -> Path:
    """Return the directory of files that can be made again: engine, images, wheels."""
    return _directory("HAPACS_CACHE_DIR", "XDG_CACHE_HOME", ".cache")


def state_directory() -> Path:
    """Return the directory that holds one directory of state for each deployment."""
    return _directory("HAPACS_STATE_DIR", "XDG_STATE_HOME", ".local/state")


def names() -> list[str]:
    """Return the names of the deployments that have settings in the tree."""
    return sorted(path.parent.name for path in (PROJECT / "inventories").glob("*/settings.yaml"))


def _known() -> str:
    return ", ".join(names()) or "none"


def _suggestion(name: str) -> str:
    """Return a hint with a similar name, or with a possible one; empty when there is none."""
    possible = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:31].strip("-")
    if near := difflib.get_close_matches(possible, names(), n=1):
        return f"Did you mean {near[0]!r}?"
    return f"A possible name: {possible!r}." if possible != name and _NAME.fullmatch(possible) else ""


@dataclass(frozen=True)
class Deployment:
    """One deployment: its settings in the tree and its state on the controller.

    Parameters
    ----------
    name
        Name of the directory below ``inventories/`` and of the Pulumi stack.
    directory
        ``inventories/<name>``: settings, inventory source, group variables, encrypted secrets.
    state
        Files of this deployment only: Pulumi state, contract, keys, logs, lab disks.
    cache
        Files shared by all deployments, safe to delete.
    """

    name: str
    directory: Path
    state: Path
    cache: Path

    @classmethod
    def load(cls, name: str) -> Deployment:
        """Find a deployment by its name.

        Raises
        ------
        RefusedError
            If the name is not possible, or no settings of that name are in the tree.
        """
        if not _NAME.fullmatch(name):
            raise RefusedError(
                f"{name!r} cannot be the name of a deployment. {_NAME_RULE}", _suggestion(name) or f"Known: {_known()}."
            )
        directory = PROJECT / "inventories" / name
        if not (directory / "settings.yaml").is_file():
            raise RefusedError(
                f"There is no deployment {name!r} in {PROJECT} (known: {_known()}).",
                f"{_suggestion(name)} To make it, write inventories/{name}/settings.yaml first.".lstrip(),
            )
        return cls(name, directory, state_directory() / name, cache_directory())

    @cached_property
    def settings(self) -> Settings:
        """The checked settings; reading them raises ``SettingsError`` with every problem found."""
        # Imported late: pydantic costs a quarter of a second that `hapacs --help` need not pay.
        from hapacs import settings  # noqa: PLC0415

        return settings.load(self.directory / "settings.yaml")

    @property
    def secrets_file(self) -> Path:
        """The encrypted secrets, read by Ansible through community.sops."""
        return self.directory / "group_vars" / "all" / "secrets.sops.yaml"

    @property
    def authorities_file(self) -> Path:
        """The encrypted authorities, which come back from here to a controller that has lost them."""
        return self.directory / "authorities.sops.yaml"

    @property
    def age_key(self) -> Path:
        """The key that opens the secrets; ``HAPACS_AGE_KEY_FILE`` names another place for it."""
        given = os.environ.get("HAPACS_AGE_KEY_FILE")
        return Path(given).absolute() if given else self.state / "age.key"

    @property
    def contract_file(self) -> Path:
        """The inventory contract that the last `up` wrote."""
        return self.state / "inventory.json"

    def require_up(self) -> None:
        """Raise an error when no `up` has written an inventory here.

        Raises
        ------
        RefusedError
            With the searched places: another user's state directory is a different one.
        """
        if not self.contract_file.exists():
            raise RefusedError(
                f"{self.name!r} is not up: {self.state} holds no inventory.json. The tree is {PROJECT}.",
                "If another user or another HAPACS_STATE_DIR brought it up, run the command as that user or with that "
                f"variable.\nElse run `hapacs up {self.name}` first.",
            )

    @property
    def unfinished_file(self) -> Path:
        """While `up` works, and after one that failed: the contract that the nodes were configured by, or ``{}``."""
        return self.state / "unfinished.json"

    @property
    def planned_contract_file(self) -> Path:
        """The inventory contract of the settings as the last `plan` found them."""
        return self.state / "plan" / "inventory.json"

    @property
    def backend(self) -> Path:
        """The directory of Pulumi's state."""
        return self.state / "pulumi"

    @property
    def ssh_key(self) -> Path:
        """The private key that opens the nodes."""
        return self.state / "ssh" / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The host keys of the nodes, pinned before first contact."""
        return self.state / "ssh" / "known_hosts"

    @property
    def pki_directory(self) -> Path:
        """The private certificate authorities."""
        return self.state / "pki"

    @property
    def logs(self) -> Path:
        """One file for each run of a playbook or of the engine."""
        return self.state / "logs"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the deployment against other commands.

        Raises
        ------
        RefusedError
            If another command has locked it.
        """
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.state / ".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RefusedError(
                    f"Another hapacs is working on {self.name!r}.", "Wait until it is done, then run again."
                ) from None
            yield

    def environment(self) -> dict[str, str]:
        """Return the environment for Ansible, Pulumi and sops on this deployment; it holds no secret."""
        return os.environ | self.variables()

    def variables(self) -> dict[str, str]:
        """Return only the variables that :meth:`environment` adds."""
        path = [str(Path(sys.executable).parent), str(self.state / "bin"), str(self.cache / "pulumi" / PULUMI_VERSION)]
        given = os.environ.get("PATH", os.defpath).split(os.pathsep)
        return {
            "PATH": os.pathsep.join(path + [entry for entry in given if entry not in path]),
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.state / "ansible"),
            "SOPS_AGE_KEY_FILE": str(self.age_key),
            "PULUMI_BACKEND_URL": f"file://{self.backend}",
            "PULUMI_HOME": str(self.state / "pulumi-home"),
            "PULUMI_SKIP_UPDATE_CHECK": "1",
            "HAPACS_STATE_DIR": str(self.state.parent),
            "HAPACS_CACHE_DIR": str(self.cache),
        }
