from pathlib import Path

import pytest

from hapacs import image

INSTALL = """\
- name: Packages
  ansible.builtin.apt:
    name: "{{ thing_packages }}"
- name: A unit
  ansible.builtin.copy:
    src: thing.service
    dest: /etc/systemd/system/
"""


@pytest.fixture
def role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(image, "_ANSIBLE", tmp_path)
    role = tmp_path / "roles" / "thing"
    for name in ("tasks", "defaults", "vars", "files"):
        (role / name).mkdir(parents=True)
    (tmp_path / "playbooks" / "group_vars" / "all").mkdir(parents=True)
    (tmp_path / "playbooks" / "bake.yml").write_text("# roles: installed_roles\n")
    (tmp_path / "playbooks" / "group_vars" / "all" / "all.yml").write_text("installed_roles: [thing]\nother: 1\n")
    (role / "tasks" / "install.yml").write_text(INSTALL)
    (role / "tasks" / "configure.yml").write_text("[]\n")
    (role / "defaults" / "main.yml").write_text("thing_port: 1\nthing_packages: '{{ __thing_list }}'\n")
    (role / "vars" / "main.yml").write_text("__thing_list: [a]\n")
    (role / "files" / "thing.service").write_text("[Unit]\n")
    return role


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("tasks/install.yml", INSTALL + "# more\n"),
        ("defaults/main.yml", "thing_port: 1\nthing_packages: [b]\n"),
        ("vars/main.yml", "__thing_list: [a, b]\n"),
        ("files/thing.service", "[Service]\n"),
        ("../../playbooks/bake.yml", "[{}]\n"),
        ("../../playbooks/group_vars/all/all.yml", "installed_roles: [thing, more]\nother: 1\n"),
    ],
)
def test_what_goes_into_the_image_changes_its_name(role: Path, file: str, text: str) -> None:
    before = image.tag()
    (role / file).write_text(text)
    assert image.tag() != before


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("tasks/configure.yml", "[{}]\n"),
        ("defaults/main.yml", "thing_port: 2\nthing_packages: '{{ __thing_list }}'\n"),
        ("files/other", "x\n"),
        ("../../playbooks/group_vars/all/all.yml", "installed_roles: [thing]\nother: 2\n"),
    ],
)
def test_what_does_not_go_into_it_changes_nothing(role: Path, file: str, text: str) -> None:
    before = image.tag()
    (role / file).write_text(text)
    assert image.tag() == before
