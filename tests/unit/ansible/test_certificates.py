"""The action `certificates` as a playbook uses it, with this machine as the node."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.module_utils.testing import patch_module_args
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.unit.ansible.loading import PROJECT, Ended, load

action, module = load("action/certificates"), load("modules/certificate_files")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="keys and authorities on a node belong to root")

OWNER, GROUP = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name


def on_node(arguments: dict[str, Any], check: bool) -> dict[str, Any]:
    """Run the module and return what it says."""

    def end(_self: Any, **said: Any) -> None:
        raise Ended(said)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.AnsibleModule, "exit_json", end)
        with patch_module_args(arguments | {"_ansible_check_mode": check}), pytest.raises(Ended) as ended:
            module.main()
    return ended.value.said


class Node:
    """Runs the action on a directory in place of a node."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "node" / "server"
        self.item: dict[str, Any] = {
            "path": str(self.path),
            "common_name": "pacs1",
            "sans": ["DNS:pacs1", "IP:192.0.2.11"],
            "usages": ["server", "client"],
            "owner": OWNER,
            "group": GROUP,
            "combined": True,
        }

    def arguments(self, **changes: Any) -> dict[str, Any]:
        return {
            "authority": "etcd",
            "directory": str(self.directory / "pki"),
            "passphrase": "passphrase",
            "items": [self.item],
        } | changes

    def apply(self, *, check: bool = False, **changes: Any) -> dict[str, Any]:
        """Run the action, and what it runs on the node, in this process."""
        task = SimpleNamespace(args=self.arguments(**changes), check_mode=check, async_val=0, action="certificates")
        made = action.ActionModule.__new__(action.ActionModule)
        made._task = task
        # What the times come through: plain numbers here.
        made._templar = SimpleNamespace(template=lambda given: given)
        made._execute_module = lambda _name, module_args, **_: on_node(module_args, check)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(action.ActionBase, "run", lambda *_: {})
            result: dict[str, Any] = made.run(None, {})
        return result

    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.path.with_suffix(".crt").read_bytes())


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@needs_root
def test_certificate_is_issued_once_and_its_key_stays_on_the_node(node: Node) -> None:
    assert node.apply()["changed"]
    key = serialization.load_pem_private_key(node.path.with_suffix(".key").read_bytes(), None)
    assert node.certificate().public_key() == key.public_key()
    authority = x509.load_pem_x509_certificate(node.path.with_name("ca-etcd.crt").read_bytes())
    node.certificate().verify_directly_issued_by(authority)
    assert node.path.with_suffix(".pem").read_bytes() == (
        node.path.with_suffix(".crt").read_bytes() + node.path.with_suffix(".key").read_bytes()
    )
    assert node.path.with_suffix(".key").stat().st_mode & 0o777 == 0o640
    assert {path.name for path in node.path.parent.iterdir()} == {
        "server.crt",
        "server.key",
        "server.pem",
        "ca-etcd.crt",
    }
    assert node.path.with_suffix(".key").read_bytes() not in b"".join(
        path.read_bytes() for path in (node.directory / "pki").rglob("*") if path.is_file()
    )
    before = {path: path.stat().st_ctime_ns for path in node.path.parent.iterdir()}
    assert not node.apply()["changed"]
    assert {path: path.stat().st_ctime_ns for path in node.path.parent.iterdir()} == before


@needs_root
def test_one_call_makes_certificates_of_several_authorities(node: Node) -> None:
    other = node.item | {"path": str(node.path.with_name("client")), "authority": "postgres", "combined": False}
    assert node.apply(check=True, items=[node.item, other])["changed"]
    assert node.apply(items=[node.item, other])["changed"]
    for name, authority in (("server", "etcd"), ("client", "postgres")):
        certificate = x509.load_pem_x509_certificate(node.path.with_name(f"{name}.crt").read_bytes())
        signer = x509.load_pem_x509_certificate(node.path.with_name(f"ca-{authority}.crt").read_bytes())
        certificate.verify_directly_issued_by(signer)
    assert not node.apply(items=[node.item, other])["changed"]


@needs_root
def test_check_mode_reports_and_issues_nothing(node: Node) -> None:
    assert node.apply(check=True)["changed"]
    assert not node.path.parent.exists()
    node.apply()
    assert not node.apply(check=True)["changed"]
    node.item["sans"] = ["DNS:pacs9"]
    before = node.certificate()
    assert node.apply(check=True)["changed"]
    assert node.certificate() == before


@needs_root
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sans": ["DNS:pacs1", "IP:192.0.2.12"]}, "its names changed"),
        ({"common_name": "pacs2"}, "its names changed"),
        ({"usages": ["client"]}, "its names changed"),
    ],
)
def test_other_names_give_a_new_certificate(node: Node, change: dict[str, Any], why: str) -> None:
    node.apply()
    before = node.certificate()
    node.item |= change
    done = node.apply()
    assert done["made"] == {str(node.path): why}
    assert node.certificate().serial_number != before.serial_number
    assert not node.apply()["changed"]


@needs_root
def test_certificate_is_renewed_before_expiry(node: Node) -> None:
    node.apply(lifetime_s=86400, renew_before_s=3600)
    first = node.certificate()
    assert not node.apply(lifetime_s=86400, renew_before_s=3600)["changed"]
    assert "it ends on" in node.apply(renew_before_s=2 * 86400)["made"][str(node.path)]
    assert node.certificate().not_valid_after_utc > first.not_valid_after_utc
    assert node.certificate().not_valid_before_utc <= datetime.now(tz=first.not_valid_after_utc.tzinfo)


@needs_root
def test_mismatched_key_and_certificate_are_replaced(node: Node) -> None:
    node.apply()
    node.path.with_suffix(".key").write_text("broken")
    assert "broken" in node.apply()["made"][str(node.path)]
    assert not node.apply()["changed"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"authority": "web"}, "There is no authority 'web'"),
        ({"items": [{"path": "/x"}]}, "items[0] lacks"),
        ({"passphrase": ""}, "passphrase is empty"),
        ({"surprise": 1}, "no such argument: surprise"),
    ],
)
def test_invalid_call_names_its_fault(node: Node, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AnsibleActionFail) as caught:
        node.apply(**changes)
    assert message in str(caught.value)
    assert not node.path.parent.exists()


@needs_root
def test_action_works_in_a_playbook(node: Node) -> None:
    """The one test through Ansible itself: it finds the action, and the action its module."""
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": sys.executable},
        "tasks": [{"name": "Certificates", "certificates": node.arguments()}],
    }
    playbook = node.directory / "playbook.json"
    playbook.write_text(json.dumps([play]))
    environment = os.environ | {
        "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_INVENTORY_ENABLED": "host_list",
    }
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", str(playbook)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=PROJECT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)["plays"][0]["tasks"][0]["hosts"]["localhost"]
    assert result["changed"]
    assert result["made"] == {str(node.path): "it is missing"}
    assert node.certificate().subject.rfc4514_string() == "CN=pacs1"
