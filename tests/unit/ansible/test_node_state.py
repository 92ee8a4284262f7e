"""Facts of a node in a playbook, also of a node that does not answer."""

from __future__ import annotations

import json
import shlex
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure

from tests.unit.ansible.loading import load

ARGUMENTS = {
    "node": "b",
    "address": "192.0.2.2",
    "sizing": "shared",
    "members": {"etcd": [{"name": "a"}, {"name": "b"}], "cas": [{"name": "a"}], "pacs": [{"name": "b"}]},
}


def ask(answer: Any) -> tuple[dict[str, Any], list[str]]:
    """Run the action on a node that answers so, and return what it was sent."""
    module, sent = load("action/node_state"), []
    action = module.ActionModule.__new__(module.ActionModule)
    action._task = SimpleNamespace(args=ARGUMENTS)

    def execute(command: str, **_: Any) -> dict[str, Any]:
        sent.append(command)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    action._low_level_execute_command = execute
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.ActionBase, "run", lambda *_: {})
        return action.run(), sent


def test_node_is_asked_about_its_own_services() -> None:
    result, sent = ask({"rc": 0, "stdout": '{"leads": true}', "stderr": ""})
    assert result == {"changed": False, "state": {"leads": True}}
    asked = json.loads(shlex.split(sent[0])[-1])
    assert asked["groups"] == ["etcd", "pacs"]
    assert asked["etcd"] == {"port": 2379, "tls": "/etc/etcd/tls"}
    assert asked["health"] == {
        "orthanc-store": {"port": 18042, "path": "/hapacs/health"},
        "orthanc-query": {"port": 18043, "path": "/hapacs/health"},
        "hapacs-routing": {"port": 9330, "path": "/metrics"},
        "hapacs-commitment": {"port": 9331, "path": "/metrics"},
        "hapacs-probe": {"port": 9332, "path": "/metrics"},
    }
    assert "patroni" not in asked


def test_node_that_does_not_answer_has_an_error() -> None:
    result, _ = ask(AnsibleConnectionFailure("no route to host"))
    assert result == {"changed": False, "state": {"error": "no route to host"}}


def test_failed_script_fails_the_task_with_its_reason() -> None:
    result, _ = ask({"rc": 1, "stdout": "", "stderr": "sudo: a password is required\n"})
    assert result["failed"]
    assert "a password is required" in result["msg"]
