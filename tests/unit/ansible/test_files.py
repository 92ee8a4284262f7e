"""The action `files` as a role uses it, with this machine as the node."""

from __future__ import annotations

import grp
import json
import os
import pwd
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.module_utils.testing import patch_module_args
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from tests.unit.ansible.loading import Ended, load

action, module = load("action/files"), load("modules/whole_files")

OWNER, GROUP = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
SECRET = "secret-of-the-test"


class Node:
    """Runs the action on a directory in place of a node, with a role's templates and files beside it."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.role = directory / "node", directory / "role"
        for place in (self.directory, self.role / "templates", self.role / "files"):
            place.mkdir(parents=True)

    def run(self, *entries: dict[str, Any], check: bool = False, **variables: Any) -> dict[str, Any]:
        """Run the action with entries whose paths lie below the node's directory."""
        placed = [
            {"owner": OWNER, "group": GROUP} | entry | {"path": str(self.directory / entry["path"])}
            for entry in entries
        ]
        loader = DataLoader()
        acting = action.ActionModule(
            task=SimpleNamespace(args={"entries": placed}, check_mode=check, async_val=0, diff=False),
            connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)),
            play_context=None,
            loader=loader,
            templar=Templar(loader=loader),
            shared_loader_obj=None,
        )
        acting._find_needle = lambda kind, name: str(self.role / kind / name)
        acting._execute_module = lambda _name, module_args, **_: self._on_node(module_args, check)
        done: dict[str, Any] = acting.run(task_vars=variables)
        return done

    @staticmethod
    def _on_node(arguments: dict[str, Any], check: bool) -> dict[str, Any]:
        def end(_self: Any, **said: Any) -> None:
            raise Ended(said)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module.AnsibleModule, "exit_json", end)
            patch.setattr(module.AnsibleModule, "fail_json", lambda _self, **said: end(_self, failed=True, **said))
            with patch_module_args(arguments | {"_ansible_check_mode": check}), pytest.raises(Ended) as ended:
                module.main()
        return ended.value.said

    def template(self, name: str, text: str) -> None:
        """Give the role a template."""
        (self.role / "templates" / name).write_text(text, encoding="utf-8")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def rights(path: Path) -> str:
    return f"{path.stat().st_mode & 0o7777:04o}"


def test_files_and_directories_are_made_in_their_order_and_again_nothing_changes(node: Node) -> None:
    node.template("one.j2", "{{ ansible_managed | comment }}\n{% if wide %}\nname={{ name }}-{{ item }}\n{% endif %}\n")
    (node.role / "files" / "two").write_text("as {{ it }} is\n", encoding="utf-8")
    entries: list[dict[str, Any]] = [
        {"path": "etc", "mode": "0750"},
        {"path": "etc/one", "template": "one.j2", "vars": {"item": 7}, "mode": "0600"},
        {"path": "etc/two", "source": "two"},
        {"path": "etc/three", "content": "3\n"},
        {"path": "etc/four", "content": "4\n", "when": "False"},
    ]
    done = node.run(*entries, wide=True, name="pacs1")
    assert done["changed"]
    etc = node.directory / "etc"
    assert set(done["written"]) == {str(etc), *(str(etc / name) for name in ("one", "two", "three"))}
    assert (etc / "one").read_text() == "#\n# Ansible managed\n#\nname=pacs1-7\n"
    assert (etc / "two").read_text() == "as {{ it }} is\n"
    assert (etc / "three").read_text() == "3\n"
    assert [rights(path) for path in (etc, etc / "one", etc / "two")] == ["0750", "0600", "0644"]
    assert not (etc / "four").exists()
    again = node.run(*entries, wide=True, name="pacs1")
    assert (again["changed"], again["written"]) == (False, {})


@pytest.mark.parametrize(
    ("before", "why"), [("other\n", "content"), ("mode", "owner, group or mode"), (None, "missing")]
)
def test_check_mode_reports_differences_and_a_run_corrects_them(node: Node, before: str | None, why: str) -> None:
    path = node.directory / "file"
    if before is not None:
        path.write_text("asked\n" if before == "mode" else before, encoding="utf-8")
        path.chmod(0o600 if before == "mode" else 0o644)
    there = path.read_bytes() if path.exists() else None
    entry = {"path": "file", "content": "asked\n"}
    assert node.run(entry, check=True)["written"] == {str(path): why}
    assert (path.read_bytes() if path.exists() else None) == there
    assert node.run(entry)["written"] == {str(path): why}
    assert (path.read_text(), rights(path)) == ("asked\n", "0644")


def test_loop_over_nothing_gives_an_empty_file(node: Node) -> None:
    content = Templar(loader=DataLoader()).template(trust_as_template("{% for one in [] %}{{ one }}\n{% endfor %}"))
    node.run({"path": "file", "content": content})
    assert (node.directory / "file").read_text() == ""


def test_invalid_file_does_not_replace_the_current_one(node: Node) -> None:
    path = node.directory / "file"
    path.write_text("{}", encoding="utf-8")
    done = node.run({"path": "file", "content": "{", "validate": "python3 -m json.tool %s /dev/null"})
    assert done["failed"]
    assert f"{path} is refused by python3 and was not changed" in done["msg"]
    assert path.read_text() == "{}"
    assert list(node.directory.iterdir()) == [path]
    assert not node.run({"path": "file", "content": "[]", "validate": "python3 -m json.tool %s /dev/null"}).get(
        "failed"
    )


def test_failure_reports_earlier_changes(node: Node) -> None:
    done = node.run({"path": "first", "content": "1"}, {"path": "absent/second", "content": "2"})
    assert done["failed"]
    assert done["written"] == {
        str(node.directory / "first"): "missing",
        str(node.directory / "absent/second"): "missing",
    }
    assert "absent" in done["msg"]


def test_missing_owner_fails_except_in_check_mode(node: Node) -> None:
    entry = {"path": "file", "content": "", "owner": "nobody-of-that-name"}
    assert node.run(entry, check=True)["changed"]
    done = node.run(entry)
    assert done["failed"]
    assert "nobody-of-that-name" in done["msg"]


def test_obstructing_file_is_not_removed(node: Node) -> None:
    (node.directory / "place").mkdir()
    assert "is a directory" in node.run({"path": "place", "content": ""})["msg"]
    (node.directory / "file").write_text("kept", encoding="utf-8")
    assert "is no directory" in node.run({"path": "file"})["msg"]
    assert (node.directory / "file").read_text() == "kept"


def test_results_contain_no_file_content(node: Node) -> None:
    done = node.run({"path": "file", "content": SECRET}, {"path": "bad", "content": SECRET, "validate": "false %s"})
    assert done["failed"]
    assert SECRET not in json.dumps(done)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "takes `entries`"),
        ({"entries": {}}, "takes `entries`"),
        ({"entries": [{"path": "etc"}]}, r"entries\[0\] has no absolute path"),
        ({"entries": [{"path": "/etc"}, {"path": "/x", "src": "a"}]}, r"entries\[1\] has unknown keys src"),
        ({"entries": [{"path": "/x", "source": "a", "template": "b"}]}, "may have one of"),
        ({"entries": [{"path": "/x", "mode": 420}]}, r"entries\[0\].mode is no text"),
    ],
)
def test_invalid_call_names_its_item(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(AnsibleActionFail, match=told):
        action.checked(arguments)
