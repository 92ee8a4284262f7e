from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hapacs import playbook

FAILING = """\
- name: Show a failure
  hosts: all
  gather_facts: false
  tasks:
    - name: Say something
      ansible.builtin.debug:
        msg: fine
    - name: Refuse
      ansible.builtin.assert:
        that: false
        fail_msg: |-
          The disk is too small.
          Give it more room.
"""
CHANGING = """\
- name: Change something
  hosts: all
  gather_facts: false
  tasks:
    - name: Change
      ansible.builtin.debug:
        msg: "{{ word }}"
      changed_when: true
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., playbook.Outcome]:
    monkeypatch.setattr(playbook, "_PLAYBOOKS", tmp_path)
    monkeypatch.setenv("ANSIBLE_HOME", str(tmp_path / "ansible"))
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("all: {hosts: {one: {ansible_connection: local}, two: {ansible_connection: local}}}\n")

    def run(text: str, **options: Any) -> playbook.Outcome:
        (tmp_path / "trial.yml").write_text(text)
        return playbook.run("trial", inventory=inventory, logs=tmp_path / "logs", **options)

    return run


def test_a_run_is_followed_counted_and_logged(run: Callable[..., playbook.Outcome]) -> None:
    tasks: list[str] = []
    outcome = run(CHANGING, variables={"word": "a word"}, on_task=tasks.append)

    assert tasks == ["Change something", "Change"]
    assert outcome.changed == 2
    assert outcome.tasks == {"Change": {"one", "two"}}
    assert outcome.recap["one"]["ok"] == 1
    assert outcome.recap["two"]["failed"] == 0
    assert "a word" in outcome.log.read_text()


def test_a_failure_names_host_task_message_log_and_what_to_do(run: Callable[..., playbook.Outcome]) -> None:
    with pytest.raises(playbook.PlaybookError) as caught:
        run(FAILING)
    message = str(caught.value)
    assert "host one, task [Refuse]" in message
    assert "The disk is too small." in message
    assert "Give it more room." in message
    assert "evaluated_to" not in message
    assert str(caught.value.outcome.log) in message
    assert "continues" in message


def test_a_playbook_that_cannot_start_says_why(run: Callable[..., playbook.Outcome]) -> None:
    with pytest.raises(playbook.PlaybookError, match=r"(?s)controller.*nonsense"):
        run("- hosts: all\n  nonsense: true\n")


@pytest.mark.parametrize("banner", ["fatal: [n1]: UNREACHABLE! => ", "failed: [n1] (item=disk0) => "])
def test_every_way_to_fail_is_read(tmp_path: Path, banner: str) -> None:
    outcome = playbook.Outcome(tmp_path / "log")
    reader = playbook.Reader(outcome, lambda _: None)
    for line in ["TASK [role : Do it] ****", banner, "    changed: false", "    msg: it broke", "", "PLAY RECAP ***"]:
        reader.line(line)
    reader.end()
    assert outcome.failures == [playbook.Failure("n1", "role : Do it", "it broke")]


def test_failures_that_were_ignored_are_no_failures(tmp_path: Path) -> None:
    outcome = playbook.Outcome(tmp_path / "log")
    reader = playbook.Reader(outcome, lambda _: None)
    for line in ["TASK [a] ***", "fatal: [n1]: FAILED! => ", "    msg: never mind", "...ignoring"]:
        reader.line(line)
    reader.end()
    assert outcome.failures == []


def test_what_a_playbook_has_to_say_is_kept(run: Callable[..., playbook.Outcome]) -> None:
    outcome = run(
        "- name: Say\n  hosts: all\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.assert: {that: true, success_msg: All is well}\n"
        "    - ansible.builtin.assert: {that: true}\n"
        "    - ansible.builtin.debug: {msg: 'it is {{ item }}'}\n      loop: [one, two]\n      run_once: true\n"
    )
    assert outcome.said == ["All is well", "it is one", "it is two"]
