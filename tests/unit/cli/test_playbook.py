"""Playbooks are followed by their events, with the strategy of the nodes and with Ansible's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hapacs import playbook
from hapacs.deployment import PROJECT
from hapacs.errors import RefusedError

Run = Callable[..., playbook.Outcome]
STRATEGIES = ("linear", "mitogen_linear")
SECRET = "s3cr3t-of-the-test"

CHANGING = """\
- name: Change something
  hosts: all
  gather_facts: false
  tasks:
    - name: Change
      ansible.builtin.debug: {msg: "{{ word }}"}
      changed_when: true
    - name: Fail and go on
      ansible.builtin.fail: {msg: nothing to worry about}
      ignore_errors: true
    - name: Assert
      ansible.builtin.assert: {that: true, success_msg: All is well}
      run_once: true
    - name: Assert quietly
      ansible.builtin.assert: {that: true}
    - name: Show each
      ansible.builtin.debug: {msg: "it is {{ item }}"}
      loop: [one, two]
      run_once: true
    - name: Notify
      ansible.builtin.command: {cmd: "true"}
      changed_when: true
      notify: Handle
      run_once: true
  handlers:
    - name: Handle
      ansible.builtin.command: {cmd: "true"}
      changed_when: true
"""
FAILING = """\
- name: Show a failure
  hosts: one
  gather_facts: false
  tasks:
    - name: Refuse
      ansible.builtin.assert:
        that: false
        fail_msg: |-
          The disk is too small.
          Give it more room.
"""
FAILING_IN_A_LOOP = """\
- name: Show a failure
  hosts: one
  gather_facts: false
  tasks:
    - name: Do each
      ansible.builtin.shell: {cmd: "echo {{ item }}-said; echo {{ item }}-complained >&2; test {{ item }} = good"}
      loop: [good, bad]
      changed_when: false
"""
UNREACHABLE = """\
- name: Lose a host
  hosts: lost
  gather_facts: false
  any_errors_fatal: false
  tasks:
    - name: Lose it and go on
      ansible.builtin.ping:
      ignore_unreachable: true
    - name: Lose it
      ansible.builtin.ping:
"""
REFUSING = """\
- name: Refuse
  hosts: one, two
  gather_facts: false
  tasks:
    - name: Allow
      refuse: {reasons: []}
    - name: Refuse it
      refuse: {reasons: ["c does not answer: switch it on", "{{ inventory_hostname }} is drained"]}
"""
SECRETIVE = f"""\
- name: Keep a secret
  hosts: one
  gather_facts: false
  vars: {{secret: {SECRET}}}
  tasks:
    - name: Show it
      ansible.builtin.debug: {{msg: "{{{{ secret }}}}"}}
      no_log: true
    - name: Change with it
      ansible.builtin.command: {{cmd: "echo {{{{ secret }}}}"}}
      changed_when: true
      no_log: true
    - name: Fail with each
      ansible.builtin.command: {{cmd: "ls /nonexistent/{{{{ item }}}}"}}
      loop: ["{{{{ secret }}}}"]
      ignore_errors: true
      no_log: true
    - name: Fail with it
      ansible.builtin.command: {{cmd: "sh -c 'echo {{{{ secret }}}} >&2; exit 1'"}}
      changed_when: true
      no_log: true
"""
INVENTORY = """\
all:
  hosts:
    one: {ansible_connection: local}
    two: {ansible_connection: local}
    lost: {ansible_host: 127.0.0.1, ansible_port: 9, ansible_ssh_retries: 0}
"""


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANSIBLE_HOME", str(tmp_path / "ansible"))
    found = tmp_path / "hosts.yml"
    found.write_text(INVENTORY, encoding="utf-8")
    return found


@pytest.fixture
def run(inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(playbook, "_PLAYBOOKS", tmp_path)

    def run(text: str, strategy: str = "linear", **options: Any) -> playbook.Outcome:
        (tmp_path / "trial.yml").write_text(text, encoding="utf-8")
        environment = {"ANSIBLE_STRATEGY": strategy}
        return playbook.run("trial", inventory=inventory, logs=tmp_path / "logs", environment=environment, **options)

    return run


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_changes_messages_and_tasks_are_followed(run: Run, strategy: str) -> None:
    tasks: list[str] = []
    options = ("--limit", "one,two")
    outcome = run(CHANGING, strategy, variables={"word": "a word"}, on_task=tasks.append, options=options)

    assert tasks == [
        "Change something", "Change", "Fail and go on", "Assert", "Assert quietly", "Show each", "Notify", "Handle",
    ]  # fmt: skip
    assert outcome.tasks == {"Change": {"one", "two"}, "Notify": {"one"}, "Handle": {"one"}}
    assert outcome.changed == 4
    assert outcome.recap["two"] == {
        "ok": 3, "changed": 1, "unreachable": 0, "failed": 0, "skipped": 0, "rescued": 0, "ignored": 1,
    }  # fmt: skip
    assert list(outcome.recap["two"]) == ["ok", "changed", "unreachable", "failed", "skipped", "rescued", "ignored"]
    assert outcome.said == ["a word", "All is well", "it is one", "it is two"]
    assert outcome.failures == []
    assert "a word" in outcome.log.read_text()


def test_failure_names_host_task_message_log_and_remedy(run: Run) -> None:
    with pytest.raises(playbook.PlaybookError) as caught:
        run(FAILING)
    message = str(caught.value)
    assert "host one, task [Refuse]" in message
    assert "The disk is too small.\n    Give it more room." in message
    assert "evaluated_to" not in message
    assert str(caught.value.outcome.log) in message
    assert "continues" in message


def test_failed_item_of_a_loop_is_shown_with_its_output(run: Run) -> None:
    with pytest.raises(playbook.PlaybookError) as caught:
        run(FAILING_IN_A_LOOP)
    (failure,) = caught.value.outcome.failures
    assert (failure.host, failure.task) == ("one", "Do each")
    assert failure.message.splitlines()[1:] == ["bad-complained", "bad-said"]


def test_lost_host_is_a_failure_unless_the_task_expects_it(run: Run) -> None:
    with pytest.raises(playbook.PlaybookError) as caught:
        run(UNREACHABLE)
    assert [(failure.host, failure.task) for failure in caught.value.outcome.failures] == [("lost", "Lose it")]
    assert caught.value.outcome.recap["lost"]["unreachable"] == 1


def test_refusal_is_told_from_a_failure(run: Run) -> None:
    with pytest.raises(RefusedError) as caught:
        run(REFUSING)
    lines = caught.value.message.splitlines()
    assert lines[0] == "Refused, nothing was changed:"
    assert sorted(lines[1:]) == ["- c does not answer: switch it on", "- one is drained", "- two is drained"]
    assert "The whole log: " in caught.value.hint


@pytest.mark.parametrize("chosen", [{"site": "east"}, {"node": "pacs1"}])
def test_rotation_of_a_part_is_refused_before_a_secret_changes(run: Run, chosen: dict[str, str]) -> None:
    with pytest.raises(RefusedError, match="leave out site and node"):
        run(_first_task_of_rotate(), variables=chosen)


def test_rotation_of_the_whole_deployment_is_allowed(run: Run) -> None:
    assert run(_first_task_of_rotate(), variables={"site": "", "node": ""}).failures == []


def _first_task_of_rotate() -> str:
    """Return a playbook of the task with which rotate.yml begins after the preflight."""
    plays = yaml.safe_load((PROJECT / "ansible/playbooks/rotate.yml").read_text(encoding="utf-8"))
    task = next(play["tasks"][0] for play in plays if "tasks" in play)
    return yaml.safe_dump([{"hosts": "one", "gather_facts": False, "tasks": [task]}])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_secret_is_written(strategy: str, inventory: Path, tmp_path: Path) -> None:
    trial, written = tmp_path / "trial.yml", tmp_path / "events"
    trial.write_text(SECRETIVE, encoding="utf-8")
    with written.open("wb") as events:
        environment = playbook._environment(
            Path(sys.executable).parent, {"ANSIBLE_STRATEGY": strategy}, events.fileno()
        )
        done = subprocess.run(
            ["ansible-playbook", "-i", str(inventory), str(trial)], cwd=PROJECT, env=os.environ | environment,
            pass_fds=(events.fileno(),), capture_output=True, text=True, check=False,
        )  # fmt: skip
    found = [json.loads(line) for line in written.read_text().splitlines()]
    assert [event["task"] for event in found if event["event"] == "changed"] == ["Change with it"]
    assert [event["message"] for event in found if event["event"] == "failed"] == [
        "the result is hidden because the task has no_log"
    ]
    assert SECRET not in written.read_text()
    assert SECRET not in done.stdout + done.stderr


def test_playbook_that_cannot_start_says_why(run: Run) -> None:
    with pytest.raises(playbook.PlaybookError, match=r"(?s)controller.*nonsense"):
        run("- hosts: all\n  nonsense: true\n")


def test_playbook_goes_on_without_a_reader(inventory: Path, tmp_path: Path) -> None:
    trial = tmp_path / "trial.yml"
    trial.write_text(CHANGING, encoding="utf-8")
    reading, writing = os.pipe()
    os.close(reading)
    environment = playbook._environment(Path(sys.executable).parent, {}, writing)
    done = subprocess.run(
        ["ansible-playbook", "-i", str(inventory), "-e", "word=x", "--limit", "one", str(trial)],
        cwd=PROJECT, env=environment, pass_fds=(writing,), capture_output=True, text=True, check=False,
    )  # fmt: skip
    os.close(writing)
    assert done.returncode == 0, done.stdout + done.stderr
