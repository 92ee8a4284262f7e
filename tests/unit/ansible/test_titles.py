"""Every AE title that the rule allows comes from the inventory contract into the roles' configuration as it is.

One run of ansible-playbook renders the configuration of HAProxy and Orthanc for titles of every difficult kind.
"""

from __future__ import annotations

import copy
import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from hapacs import ae_titles
from hapacs.settings import parse
from tests.unit.ansible.loading import ANSIBLE
from tests.unit.provisioning.conftest import HOSPITAL
from tests.unit.provisioning.golden import GOLDEN
from tests.unit.provisioning.test_inventory_through_ansible import Ansible

STORE, QUERY, WORKLIST = "MAIN #1 \"'", "$HOME{{ 1 }}", "WL #2 '{{ 1 }}"
CALLERS = ["CT#1", "CT/1", 'A"B', "A'B", "-f", "--", "}", "{ src", "CT 1", "CT_1", "%[src]", "a,b;c", "*?[~]", "0" * 16]
TEMPLATES = {"haproxy": "haproxy.cfg.j2", "orthanc": "orthanc.json.j2"}
# What comes from elsewhere: secrets, other hosts, and which of Orthanc's two services is meant.
OTHERS = {
    "haproxy_drained": [],
    "haproxy_dicomweb_users": {},
    "haproxy_statistics_password": "long enough to do",
    "haproxy_status_bundle": "",
    "item": {"key": "query", "value": {"http_port": 18043, "dicom_port": 4243}},
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the text of each template, by the role's name."""
    directory = tmp_path_factory.mktemp("titles")
    contract = copy.deepcopy(GOLDEN)
    site = contract["sites"]["primary"]
    site["dicom"] |= {"store_ae": STORE, "query_ae": QUERY}
    site["worklist"] |= {"ae_title": WORKLIST}
    site["callers"] = [
        {"ae_title": title, "networks": ["192.0.2.0/24"], "may": ["echo"], "yields": False} for title in CALLERS
    ]
    files = [f"roles/{role}/{part}/main.yml" for role in TEMPLATES for part in ("defaults", "vars")]
    files += [f"playbooks/group_vars/all/{role}.yml" for role in TEMPLATES]
    render = [
        {
            "name": role,
            "ansible.builtin.template": {
                "src": str(ANSIBLE / "roles" / role / "templates" / template),
                "dest": str(directory / role),
                "mode": "0600",
            },
        }
        for role, template in TEMPLATES.items()
    ]
    play = {
        "name": "Render", "hosts": "pacs1", "connection": "local", "gather_facts": False, "vars": OTHERS,
        "vars_files": [str(ANSIBLE / file) for file in files], "tasks": render,
    }  # fmt: skip
    (directory / "play.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
    ansible = Ansible(directory)
    ansible.write(contract)
    done = ansible.run("ansible-playbook", "--extra-vars", json.dumps(OTHERS), directory / "play.yml")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return {role: (directory / role).read_text(encoding="utf-8") for role in TEMPLATES}


def words(configuration: str, *beginning: str) -> list[list[str]]:
    """Return the lines with a beginning, each split into words as HAProxy does it."""
    lines = [shlex.split(line) for line in configuration.splitlines() if line.split()[: len(beginning)] == [*beginning]]
    assert lines
    return lines


def test_the_rule_allows_these_titles() -> None:
    assert [title for title in (STORE, QUERY, *CALLERS) if ae_titles.problem(title)] == []


def test_settings_with_these_titles_are_sound() -> None:
    settings: dict[str, Any] = yaml.safe_load(HOSPITAL.read_text(encoding="utf-8"))
    settings["sites"]["main"]["dicom"] = {"store_ae": STORE, "query_ae": QUERY}
    settings["callers"] += [
        {"ae_title": title, "networks": ["203.0.113.65/32"], "may": ["echo"], "yields": False} for title in CALLERS
    ]
    assert parse(settings).callers[-1].ae_title == CALLERS[-1]


def test_haproxy_compares_each_title_as_it_is(rendered: dict[str, str]) -> None:
    text = rendered["haproxy"]
    for number, title in enumerate(CALLERS, 1):
        assert words(text, "acl", f"caller_{number}") == [
            ["acl", f"caller_{number}", "var(sess.calling)", "-m", "str", "--", title]
        ]
    assert words(text, "acl", "known")[0][5:] == ["--", *CALLERS]
    assert words(text, "acl", "for_store")[0][5:] == ["--", STORE]
    assert words(text, "acl", "for_query")[0][5:] == ["--", QUERY, WORKLIST]


def test_a_service_is_asked_one_question_and_asks_its_own_title(rendered: dict[str, str]) -> None:
    sent = words(rendered["haproxy"], "tcp-check", "send")
    assert [line[2].split()[:2] for line in sent] == [["GET", "/hapacs/health"]] * 2, "storing and query services"
    own = json.loads(rendered["orthanc"])["Hapacs"]["Association"]
    assert (own["Called"], own["Calling"]) == (QUERY, ae_titles.HEALTH_CHECK)


def test_orthanc_gets_each_title_as_it_is(rendered: dict[str, str]) -> None:
    configuration = json.loads(rendered["orthanc"])
    assert configuration["DicomAet"] == QUERY
    known = [caller["Title"] for caller in configuration["Hapacs"]["Dimse"]["Callers"]]
    assert sorted(known) == sorted([*CALLERS, ae_titles.HEALTH_CHECK])


def test_sessions_of_the_index_have_the_name_for_which_the_guard_looks(rendered: dict[str, str]) -> None:
    configuration = json.loads(rendered["orthanc"])
    parameters = parse_qs(urlsplit(configuration["PostgreSQL"]["ConnectionUri"]).query)
    assert parameters["application_name"] == [configuration["DatabaseServerIdentifier"]]


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy; tests/molecule/haproxy has it on a node")
def test_haproxy_takes_the_lines(rendered: dict[str, str], tmp_path: Path) -> None:
    lines = [line for line in rendered["haproxy"].splitlines() if line.split()[:1] == ["acl"]]
    file = tmp_path / "haproxy.cfg"
    file.write_text("\n".join(["defaults", "mode tcp", "listen test", "bind 127.0.0.1:1", *lines, ""]))
    done = subprocess.run(["haproxy", "-c", "-f", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("role", TEMPLATES)
def test_the_title_of_the_health_check_is_the_one_that_the_rule_reserves(role: str) -> None:
    defaults = yaml.safe_load((ANSIBLE / "roles" / role / "defaults/main.yml").read_text(encoding="utf-8"))
    assert defaults[f"{role}_health_ae"] == ae_titles.HEALTH_CHECK
