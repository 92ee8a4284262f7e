"""Ansible action: ends a playbook before its first change when there are reasons against it.

    refuse:
      reasons: ["pacs3 does not answer by SSH: switch it on"]   # none: the playbook goes on

Returns `refused`, the reasons: `hapacs.playbook` tells a refusal from a failure by it.
"""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Fail with the reasons."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        reasons = self._task.args.get("reasons")
        if not isinstance(reasons, list) or set(self._task.args) != {"reasons"}:
            raise AnsibleActionFail("refuse takes `reasons`, a list of texts, and nothing else")
        if not reasons:
            return result | {"changed": False}
        lines = "\n".join(f"- {reason}" for reason in reasons)
        return result | {"failed": True, "refused": list(reasons), "msg": f"Refused, nothing was changed:\n{lines}"}
