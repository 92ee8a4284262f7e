"""Ansible action: new values for the secrets of a kind, in the deployment's encrypted file on the controller.

    rotate_secrets:
      deployment: lab
      kind: pacs           # one of hapacs.rotation.KINDS
      user: verify         # of DICOMweb, for the kind dicomweb
      state: begun         # or ended: former values are removed

Returns the names of the secrets that changed, never a value.
"""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail

from ansible.plugins.action import ActionBase
from hapacs import rotation
from hapacs.deployment import Deployment
from hapacs.errors import HapacsError


class ActionModule(ActionBase):
    """Begin or end a rotation."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        kind, user = self._task.args["kind"], self._task.args.get("user", "verify")
        try:
            deployment = Deployment.load(self._task.args["deployment"])
            if self._task.check_mode:
                names = rotation.names(kind)
            elif self._task.args.get("state", "begun") == "ended":
                rotation.end(deployment, kind)
                names = []
            else:
                names = rotation.begin(deployment, kind, user)
        except HapacsError as error:
            raise AnsibleActionFail(str(error)) from error
        return result | {"changed": True, "names": names, "file": str(deployment.secrets_file)}
