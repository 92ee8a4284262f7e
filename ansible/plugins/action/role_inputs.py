"""Ansible action: check the input of several roles, on the controller, and report every problem at once.

For each role it does what the role itself does first: it validates the arguments by `meta/argument_specs.yml`, and
evaluates `tasks/preflight.yml`, which holds nothing but `ansible.builtin.assert`. Nothing is asked of the host.

role_inputs:
roles: [base, pki, haproxy]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible.plugins.action import ActionBase

ASSERT = "ansible.builtin.assert"
ROLES = Path(__file__).resolve().parents[2] / "roles"


class ActionModule(ActionBase):
    """Check the input of roles."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        problems = [
            f"Role {role}: {problem}"
            for role in self._task.args["roles"]
            for problem in self._problems(role, variables)
        ]
        if problems:
            raise AnsibleActionFail("\n".join(problems))
        return result | {"changed": False}

    def _problems(self, role: str, variables: Mapping[str, Any]) -> Iterator[str]:
        options = self._read(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
        given = self._templar.template({name: variables[name] for name in options if name in variables})
        if messages := ArgumentSpecValidator(options).validate(given).error_messages:
            # The conditions need arguments of the right types.
            yield from messages
            return
        # In Ansible's order of precedence: a role's defaults, the inventory, the role's own variables, the task's.
        known = {**self._read(role, "defaults/main.yml"), **variables, **self._read(role, "vars/main.yml")}
        for task in self._read(role, "tasks/preflight.yml"):
            with self._templar.set_temporary_context(available_variables={**known, **task.get("vars", {})}):
                yield from self._failed(task)

    def _failed(self, task: Mapping[str, Any]) -> Iterator[str]:
        if "when" in task and not self._templar.evaluate_conditional(task["when"]):
            return
        checks = task[ASSERT]
        if not all(self._templar.evaluate_conditional(condition) for condition in checks["that"]):
            yield self._templar.template(checks["fail_msg"]).strip()

    def _read(self, role: str, path: str) -> Any:
        """Return a file of a role; what it holds may be a template, as it is for the role."""
        file = ROLES / role / path
        return self._loader.load_from_file(str(file), trusted_as_template=True) if file.exists() else {}
