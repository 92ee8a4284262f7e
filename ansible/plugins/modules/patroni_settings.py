#!/usr/bin/python
"""Ansible module: settings of a whole Patroni cluster, and the restarts that they require."""

from __future__ import annotations

DOCUMENTATION = r"""
module: patroni_settings
short_description: Settings of a Patroni cluster, with rolling restarts where needed
description:
  - Compares the cluster's settings with the requested ones and patches the differences. Members that then need
    a restart are restarted one at a time, standbys first, each followed by a wait until all members stream again.
options:
  url:
    description: URL of any member's Patroni.
    type: str
    required: true
  username:
    description: User for changes.
    type: str
    required: true
  password:
    description: Password for changes.
    type: str
    required: true
  tls_directory:
    description: Directory with C(server.crt), C(server.key) and C(ca-postgres.crt).
    type: str
    required: true
  settings:
    description: Requested settings; other keys are not changed.
    type: dict
    required: true
  settle_s:
    description: >-
      Seconds to wait after a reload before members are asked whether they need a restart. They
      know it after their next loop.
    type: int
    default: 0
  timeout_s:
    description: Maximum time for a member to return, in seconds.
    type: int
    default: 120
author: hapacs
"""

EXAMPLES = r"""
- name: Apply cluster-wide settings
  patroni_settings:
    url: https://192.0.2.11:8008
    username: patroni
    password: "{{ rest_password }}"
    tls_directory: /etc/patroni/tls
    settings: {ttl: 20}
"""

RETURN = r"""
different:
  description: Settings that were patched.
  returned: always
  type: list
  elements: str
restarted:
  description: Members that were restarted.
  returned: always
  type: list
  elements: str
"""

import base64
import json
import ssl
import time
import urllib.error
import urllib.request
from typing import Any

from ansible.module_utils.basic import AnsibleModule

WHOLE = {"running", "streaming"}
# After a reload with new certificates the REST interface closes and reopens in the next loop.
REOPENS_WITHIN_S = 15


def different(wanted: dict[str, Any], present: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted names of settings that `present` lacks or has otherwise; a number and its text are equal."""
    names = []
    for key, value in wanted.items():
        if isinstance(value, dict):
            below = present.get(key)
            names += different(value, below if isinstance(below, dict) else {}, f"{prefix}{key}.")
        elif str(present.get(key)).lower() != str(value).lower():
            names.append(prefix + key)
    return names


class Patroni:
    """One member's REST interface, with client certificate and login."""

    def __init__(self, module: AnsibleModule) -> None:
        tls, login = module.params["tls_directory"], f"{module.params['username']}:{module.params['password']}"
        self._context = ssl.create_default_context(cafile=f"{tls}/ca-postgres.crt")
        self._context.load_cert_chain(f"{tls}/server.crt", f"{tls}/server.key")
        self._authorization = "Basic " + base64.b64encode(login.encode()).decode()
        self._patience_s = 0 if module.check_mode else REOPENS_WITHIN_S

    def ask(self, method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request, repeat it while the connection is refused, and return the JSON answer (or an empty one)."""
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return self._send(method, url, body)
            except urllib.error.HTTPError:
                raise
            except OSError:
                # The requested restart may have begun.
                if method == "POST" or time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def _send(self, method: str, url: str, body: dict[str, Any] | None) -> dict[str, Any]:
        headers = {"Authorization": self._authorization, "Content-Type": "application/json"}
        content = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(url, data=content, headers=headers, method=method)  # noqa: S310 - https only
        with urllib.request.urlopen(request, timeout=90, context=self._context) as answer:  # noqa: S310 - https only
            text = answer.read().decode()
        return json.loads(text) if text.startswith(("{", "[")) else {}


def restart_pending(patroni: Patroni, url: str, timeout_s: int) -> list[str]:
    """Restart the members that need it, one at a time and the leader last; return their names."""
    restarted = []
    members = patroni.ask("GET", f"{url}/cluster")["members"]
    for member in sorted(members, key=lambda member: member["role"] == "leader"):
        if not member.get("pending_restart"):
            continue
        base = member["api_url"].rsplit("/", 1)[0]
        patroni.ask("POST", f"{base}/restart", {"restart_pending": True})
        restarted.append(member["name"])
        deadline = time.monotonic() + timeout_s
        while ill := [m["name"] for m in patroni.ask("GET", f"{url}/cluster")["members"] if m["state"] not in WHOLE]:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{', '.join(ill)} did not come back within {timeout_s} s of the restart of {member['name']}"
                )
            time.sleep(1)
    return restarted


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "username": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "tls_directory": {"type": "str", "required": True},
            "settings": {"type": "dict", "required": True},
            "settle_s": {"type": "int", "default": 0},
            "timeout_s": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    url, settings, settle_s = module.params["url"], module.params["settings"], module.params["settle_s"]
    try:
        patroni = Patroni(module)
        present = patroni.ask("GET", f"{url}/config")
        names = different(settings, present)
        if names and not module.check_mode:
            patroni.ask("PATCH", f"{url}/config", settings)
            # Members read the store once a loop as well.
            settle_s = max(settle_s, 2 * int(settings.get("loop_wait", present.get("loop_wait", 10))))
        restarted = []
        if not module.check_mode:
            time.sleep(settle_s)
            restarted = restart_pending(patroni, url, module.params["timeout_s"])
    except (OSError, urllib.error.URLError, TimeoutError) as error:
        if module.check_mode:
            module.exit_json(changed=True, different=["the cluster is not there yet"], restarted=[])
        module.fail_json(msg=f"{url}: {error}. See `patronictl -c /etc/patroni/hapacs.yml list` on a node.")
    module.exit_json(changed=bool(names or restarted), different=names, restarted=restarted)


if __name__ == "__main__":
    main()
