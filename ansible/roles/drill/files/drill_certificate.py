"""A certificate that ends: services run with one that is valid for a short time, and keep it when it has ended."""

from __future__ import annotations

import shutil
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

from drill_base import RefusedError, run

SUFFIXES = (".crt", ".key")
ENDED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL."""
TIMEOUT_S = 5


class Certificate:
    """Puts a certificate that ends soon in the place of another one, and restarts the services that use it."""

    def __init__(self, fault: dict[str, Any]) -> None:
        self.path, self.by = str(fault["path"]), str(fault["by"])
        self.units, self.authority = list(fault["units"]), str(fault["authority"])
        self.address = (str(fault["address"]), int(fault["port"]))

    def plan(self) -> dict[str, Any]:
        """Require both certificates with their keys."""
        wanted = [Path(name + suffix) for name in (self.path, self.by) for suffix in SUFFIXES]
        if missing := [str(file) for file in wanted if not file.exists()]:
            raise RefusedError(f"this node has no {', '.join(missing)}")
        return {}

    def apply(self, _plan: dict[str, Any]) -> None:
        """Keep the former files beside the new ones."""
        for suffix in SUFFIXES:
            run("cp", "--archive", "--no-clobber", self.path + suffix, self._former(suffix))
        for suffix in SUFFIXES:
            # Into the present file, which keeps its owner.
            shutil.copyfile(self.by + suffix, self.path + suffix)
        run("systemctl", "restart", *self.units)

    def proof(self, _plan: dict[str, Any]) -> str:
        """Return that a handshake fails because the certificate has ended, or empty."""
        context = ssl.create_default_context(cafile=self.authority)
        context.check_hostname = False
        try:
            with socket.create_connection(self.address, TIMEOUT_S) as caller, context.wrap_socket(caller):
                return ""
        except ssl.SSLCertVerificationError as error:
            host, port = self.address
            said = f"the handshake with {host}:{port} fails: {error.verify_message}"
            return said if error.verify_code == ENDED else ""
        except OSError:
            # The service is starting, or has ended.
            return ""

    def undo(self, _plan: dict[str, Any]) -> None:
        """Put the former files back, and restart the services when they had others."""
        restored = [suffix for suffix in SUFFIXES if Path(self._former(suffix)).exists()]
        for suffix in restored:
            Path(self._former(suffix)).replace(self.path + suffix)
        if restored:
            run("systemctl", "restart", "--no-block", *self.units)
        for suffix in SUFFIXES:
            with suppress(FileNotFoundError):
                Path(self.by + suffix).unlink()

    def _former(self, suffix: str) -> str:
        return f"{self.path}{suffix}.hapacs-drill"
