"""Ansible action: keys and certificates of a node, signed by an authority on the controller.

    certificates:
      authority: etcd               # one of hapacs.pki.AUTHORITIES; an item may name another one
      directory: <state>/pki        # on the controller
      passphrase: <secret>
      lifetime_s: 31536000          # optional
      renew_before_s: 2592000       # optional
      items:
        - path: /etc/etcd/tls/server        # gives server.crt, server.key, and ca-etcd.crt beside them
          common_name: pacs1
          sans: ["DNS:pacs1", "IP:192.0.2.11"]
          usages: [server, client]
          owner: etcd
          group: etcd
          authority: etcd                   # optional
          combined: false                   # also server.pem: certificate and key in one file

`lifetime_s` and `renew_before_s` default to the variables `certificates_lifetime_s` and
`certificates_renew_before_s`, with which a playbook sets them for all roles.

One task issues all certificates of a role: the node creates keys and requests, the controller signs, the node installs.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible.plugins.action import ActionBase
from hapacs.errors import HapacsError
from hapacs.pki import Authority, Subject

DAY_S = 86400
REQUIRED = ("path", "common_name", "owner", "group")
OPTIONAL = ("sans", "usages", "combined", "authority")


def checked(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """Check the items of a call and return them.

    Raises
    ------
    AnsibleActionFail
        Naming the item and its key.
    """
    known = {"authority", "directory", "passphrase", "items", "lifetime_s", "renew_before_s"}
    if unknown := set(arguments) - known:
        raise AnsibleActionFail(f"certificates: no such argument: {', '.join(sorted(unknown))}")
    if missing := {"authority", "directory", "passphrase", "items"} - set(arguments):
        raise AnsibleActionFail(f"certificates: missing argument: {', '.join(sorted(missing))}")
    for number, item in enumerate(arguments["items"]):
        if missing := set(REQUIRED) - set(item):
            raise AnsibleActionFail(f"certificates: items[{number}] lacks {', '.join(sorted(missing))}")
        if unknown := set(item) - {*REQUIRED, *OPTIONAL}:
            raise AnsibleActionFail(f"certificates: items[{number}] has unknown keys {', '.join(sorted(unknown))}")
    return list(arguments["items"])


def _subject(item: dict[str, Any]) -> Subject:
    return Subject(item["common_name"], item.get("sans", ()), item.get("usages", ("server", "client")))


class ActionModule(ActionBase):
    """Collect requests from the node, sign them, install the certificates."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        items = checked(arguments)
        lifetime = timedelta(seconds=self._seconds("lifetime_s", 397 * DAY_S, task_vars))
        renew_before_s = self._seconds("renew_before_s", 30 * DAY_S, task_vars)
        items = [{"authority": arguments["authority"], **item} for item in items]
        try:
            authorities = self._authorities(sorted({item["authority"] for item in items}))
            if self._task.check_mode and (
                absent := [it.name for it in authorities.values() if not it.certificate_file.exists()]
            ):
                return result | {"changed": True, "msg": f"the authority {', '.join(absent)} would be created"}
            for authority in authorities.values():
                authority.ensure()
            call = {
                "authorities": {name: it.certificate_file.read_text() for name, it in authorities.items()},
                "items": items,
                "renew_before_s": renew_before_s,
            }
            asked = self._on_node(call, task_vars)
            if asked.get("failed") or self._task.check_mode or not asked["requests"]:
                return result | asked
            by_path = {item["path"]: item for item in items}
            requests = asked["requests"]
            signed = {
                path: authorities[by_path[path]["authority"]]
                .sign(asking["pem"].encode(), _subject(by_path[path]), lifetime)
                .decode()
                for path, asking in requests.items()
            }
        except HapacsError as error:
            raise AnsibleActionFail(str(error)) from error
        renewed = [item for item in items if item["path"] in requests]
        done = self._on_node(call | {"items": renewed, "signed": signed}, task_vars)
        why = {path: asking["why"] for path, asking in requests.items()}
        return result | done | {"changed": True, "made": why}

    def _authorities(self, names: list[str]) -> dict[str, Authority]:
        directory, passphrase = Path(self._task.args["directory"]), self._task.args["passphrase"]
        return {name: Authority(directory, name, passphrase) for name in names}

    def _seconds(self, name: str, default: int, task_vars: dict[str, Any] | None) -> int:
        """Return a time from the task, else from the playbook's variable for all roles (``certificates_<name>``)."""
        given = self._task.args.get(name, (task_vars or {}).get(f"certificates_{name}", default))
        return int(self._templar.template(given))

    def _on_node(self, call: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        done: dict[str, Any] = self._execute_module("certificate_files", module_args=call, task_vars=task_vars)
        return done
