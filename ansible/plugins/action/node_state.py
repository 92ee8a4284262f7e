"""Ansible action: collects the facts of a node; `hapacs status` and `hapacs verify` collect the same.

    node_state:
      node: pacs1
      address: 192.0.2.11
      members: {etcd: [{name: pacs1}, ...], ...}      # the site's nodes by group
      sizing: dedicated                               # or shared

Returns `state`, the document of `hapacs.site.node_facts`; only an `error` in it when the node does not answer, which
`hapacs.site.problems` judges. Nothing is changed, so it runs in check mode too.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure

from ansible.plugins.action import ActionBase
from hapacs.services import nodes as services
from hapacs.site import node_facts


class ActionModule(ActionBase):
    """Send the script, run it there as root with Debian's Python, read what it prints."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        members = {group: [node["name"] for node in nodes] for group, nodes in arguments["members"].items()}
        asked = services.question(arguments["node"], arguments["address"], members, arguments["sizing"])
        script = Path(node_facts.__file__).read_bytes()
        command = f"/usr/bin/python3 - {shlex.quote(json.dumps(asked))}"
        try:
            done = self._low_level_execute_command(command, sudoable=True, in_data=script)
        except AnsibleConnectionFailure as error:
            return result | {"changed": False, "state": {"error": str(error)}}
        if done["rc"] != 0:
            said = (done["stderr"] or done["stdout"]).strip().splitlines()
            return result | {"failed": True, "msg": f"{arguments['node']} can't collect its facts: {said[-1:]}"}
        return result | {"changed": False, "state": json.loads(done["stdout"])}
