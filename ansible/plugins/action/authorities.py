"""Ansible action: create the deployment's authorities and the controller's certificates, on the controller.

authorities:
directory: <state>/pki
passphrase: <secret>
controller: hapacs-controller
controller_authorities: [pacs, edge]     # gives <directory>/controller-<authority>.crt and .key
lifetime_s: 34300800
renew_before_s: 2592000
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible.plugins.action import ActionBase
from hapacs.errors import HapacsError
from hapacs.pki import AUTHORITIES, Authority, Subject


class ActionModule(ActionBase):
    """Create missing authorities and renew expiring certificates."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        directory, made = Path(arguments["directory"]), []
        renew_before = timedelta(seconds=int(arguments["renew_before_s"]))
        lifetime = timedelta(seconds=int(arguments["lifetime_s"]))
        subject = Subject(arguments["controller"], usages=("client",))
        try:
            for name in AUTHORITIES:
                authority = Authority(directory, name, arguments["passphrase"])
                if self._task.check_mode and not authority.certificate_file.exists():
                    made.append(name)
                    continue
                if authority.ensure():
                    made.append(name)
                authority.check_lifetime(lifetime)
                if name in arguments["controller_authorities"] and not self._task.check_mode:
                    own = directory / f"controller-{name}"
                    if authority.issue(own, subject, lifetime, renew_before):
                        made.append(own.name)
        except HapacsError as error:
            raise AnsibleActionFail(str(error)) from error
        return result | {"changed": bool(made), "made": made}
