"""Ansible action: the files and directories of a role on a node, in one task.

    files:
      entries:
        - {path: /etc/etcd, group: etcd, mode: "0750"}  # a directory
        - path: /etc/etcd/hapacs.yml
          template: etcd.yml.j2               # or `source`, a file of the role, or `content`
          vars: {member: "{{ item }}"}            # optional, for the template
          owner: root                         # default root, like the group
          group: etcd
          mode: "0640"                        # default 0644, directories 0755
          when: "{{ etcd_runs }}"             # optional
          validate: etcd-check %s             # optional

Entries are created in the given order. An entry costs a node almost nothing, while a task for a single file starts
Python twice: a site has some seventy files. No log and no result contains the content, not even with ``--diff``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.template import trust_as_template

from ansible import constants
from ansible.plugins.action import ActionBase

CONTENTS = ("template", "source", "content")
KEYS = {"path", "owner", "group", "mode", "validate", "vars", "when", *CONTENTS}


def checked(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """Check the entries of a call and return those whose condition is true.

    Raises
    ------
    AnsibleActionFail
        Naming the entry and its key.
    """
    if set(arguments) != {"entries"} or not isinstance(arguments["entries"], list):
        raise AnsibleActionFail("files: takes `entries`, a list, and nothing else")
    for number, entry in enumerate(arguments["entries"]):
        if not str(entry.get("path", "")).startswith("/"):
            raise AnsibleActionFail(f"files: entries[{number}] has no absolute path")
        if unknown := set(entry) - KEYS:
            raise AnsibleActionFail(f"files: entries[{number}] has unknown keys {', '.join(sorted(unknown))}")
        if len(set(entry) & set(CONTENTS)) > 1:
            raise AnsibleActionFail(f"files: entries[{number}] may have one of {', '.join(CONTENTS)}")
        if not isinstance(entry.get("mode", ""), str):
            raise AnsibleActionFail(f'files: entries[{number}].mode is no text; write it as "0644"')
    return [entry for entry in arguments["entries"] if boolean(entry.get("when", True))]


class ActionModule(ActionBase):
    """Render the files, and let the node write those that differ."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        wanted = [self._wanted(entry, dict(task_vars or {})) for entry in checked(self._task.args)]
        call: dict[str, object] = {"files": json.dumps(wanted)}
        done: dict[str, Any] = self._execute_module("whole_files", module_args=call, task_vars=task_vars)
        return result | done

    def _wanted(self, entry: dict[str, Any], variables: dict[str, Any]) -> dict[str, str]:
        wanted = {key: str(entry.get(key, "root")) for key in ("owner", "group")}
        wanted["path"] = str(entry["path"])
        content = self._content(entry, variables)
        if content is not None:
            wanted["content"] = content
        wanted["mode"] = str(entry.get("mode", "0755" if content is None else "0644"))
        if "validate" in entry:
            wanted["validate"] = str(entry["validate"])
        return wanted

    def _content(self, entry: dict[str, Any], variables: dict[str, Any]) -> str | None:
        if "content" in entry:
            # Ansible renders a text of statements only that gives nothing, such as a loop over nothing, as None.
            return "" if entry["content"] is None else str(entry["content"])
        try:
            if "source" in entry:
                return str(self._loader.get_text_file_contents(self._find_needle("files", entry["source"])))
            if "template" in entry:
                return self._rendered(self._find_needle("templates", entry["template"]), entry, variables)
        except AnsibleError as error:
            raise AnsibleActionFail(f"{entry['path']}: {error}") from error
        return None

    def _rendered(self, template: str, entry: dict[str, Any], variables: dict[str, Any]) -> str:
        variables.setdefault("ansible_managed", constants.config.get_config_value("DEFAULT_MANAGED_STR"))
        variables |= entry.get("vars", {})
        templar = self._templar.copy_with_new_env(
            searchpath=[str(Path(template).parent)], available_variables=variables
        )
        text = trust_as_template(self._loader.get_text_file_contents(template))
        options = {"trim_blocks": True, "lstrip_blocks": False, "newline_sequence": "\n"}
        rendered = templar.template(text, escape_backslashes=False, overrides=options)
        return "" if rendered is None else str(rendered)
