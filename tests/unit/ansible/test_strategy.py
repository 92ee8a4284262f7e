"""A node that is lost ends a playbook: nothing is done to the others as if all were well."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.ansible.loading import PROJECT

_INVENTORY = """
here ansible_connection=local ansible_python_interpreter={python}
other ansible_connection=local ansible_python_interpreter={python}
lost ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1
"""
_PLAYBOOK = """
- hosts: {first}
  gather_facts: false
  serial: {serial}
  tasks:
    - ansible.builtin.ping:
- hosts: here
  gather_facts: false
  tasks:
    - ansible.builtin.file: {{path: {mark}, state: touch, mode: "0600"}}
"""


@pytest.mark.parametrize(("first", "serial"), [("lost", "100%"), ("lost", "1"), ("lost:other", "100%")])
def test_playbook_ends_after_a_play_with_a_lost_node(tmp_path: Path, first: str, serial: str) -> None:
    mark = tmp_path / "mark"
    done = _run(tmp_path, _PLAYBOOK.format(first=first, serial=serial, mark=mark))
    assert done.returncode != 0
    assert "lost" in done.stdout
    assert "UNREACHABLE" in done.stdout
    assert not mark.exists(), done.stdout


def test_playbook_continues_without_a_lost_node(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    done = _run(tmp_path, _PLAYBOOK.format(first="here:other", serial="1", mark=mark))
    assert done.returncode == 0, done.stdout
    assert mark.exists()


def test_tasks_and_what_they_start_use_all_processors(tmp_path: Path) -> None:
    playbook = """
- hosts: here
  gather_facts: false
  tasks:
    - ansible.builtin.command: nproc
      register: task
    - ansible.builtin.debug:
        msg: "processors {{ task.stdout }} {{ lookup('pipe', 'nproc') }}"
"""
    done = _run(tmp_path, playbook)
    there = len(os.sched_getaffinity(0))
    assert f"processors {there} {there}" in done.stdout, done.stdout


def _run(directory: Path, playbook: str) -> subprocess.CompletedProcess[str]:
    (directory / "hosts.ini").write_text(_INVENTORY.format(python=sys.executable), encoding="utf-8")
    (directory / "playbook.yml").write_text(playbook, encoding="utf-8")
    return subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "hosts.ini", "playbook.yml"],
        env=os.environ | {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")},
        cwd=directory, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
