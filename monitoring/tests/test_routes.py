"""Who gets which alert: the configuration of Alertmanager, made as the role makes it and judged by amtool."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from hapacs.deployment import PROJECT
from monitoring import expressions

TEMPLATE = PROJECT / "monitoring" / "alertmanager" / "alertmanager.yml.j2"
RECEIVERS = {
    "night": {"mail": ["night@hospital.example", "pacs@hospital.example"]},
    "chat": {"webhook": "https://chat.hospital.example/hook", "credentials": "chat"},
    "outside": {"webhook": "https://watch.example/ping"},
}
SERVER = {
    "host": "mail.hospital.example", "port": 587, "sender": "pacs@hospital.example", "starttls": True,
    "user": "pacs", "credentials": "mail",
}  # fmt: skip
ROUTES = {
    "receivers": RECEIVERS,
    "mail_server": SERVER,
    "page": ["night", "chat"],
    "ticket": ["chat"],
    "watchdog": ["outside"],
}
NOBODY: dict[str, Any] = {"receivers": {}, "page": [], "ticket": [], "watchdog": []}


def rendered(routes: dict[str, Any], secrets: str = "/etc/secrets", other_site: str = "") -> str:
    # As Ansible sets it up.
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - YAML
    environment.filters["comment"] = lambda text: f"# {text}"
    environment.filters["extract"] = lambda name, found: found[name]
    environment.filters["to_json"] = json.dumps
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        ansible_managed="test",
        alertmanager_routes=routes,
        alertmanager_other_site=other_site,
        __alertmanager_secrets=secrets,
        __alertmanager_tls="/etc/tls",
    )


@pytest.mark.parametrize("routes", [ROUTES, NOBODY, ROUTES | {"page": ["night"]}])
def test_amtool_takes_it(amtool: Path, tmp_path: Path, routes: dict[str, Any]) -> None:
    file = tmp_path / "alertmanager.yml"
    file.write_text(rendered(routes), encoding="utf-8")
    done = subprocess.run([amtool, "check-config", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("severity", ["page", "ticket", "watchdog"])
def test_each_severity_goes_to_its_receiver(amtool: Path, tmp_path: Path, severity: str) -> None:
    file = tmp_path / "alertmanager.yml"
    file.write_text(rendered(ROUTES), encoding="utf-8")
    command = [str(amtool), "config", "routes", "test", f"--config.file={file}", f"severity={severity}", "alertname=x"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == severity


def test_the_other_site_hears_the_watchdog_besides_its_receiver(amtool: Path, tmp_path: Path) -> None:
    text = rendered(ROUTES, other_site="https://10.1.0.9:8407")
    file = tmp_path / "alertmanager.yml"
    file.write_text(text, encoding="utf-8")
    # amtool reads the certificates that a configuration names.
    command = [str(amtool), "config", "routes", "test", f"--config.file={file}"]
    asked = {
        severity: subprocess.run(
            [*command, f"severity={severity}", "alertname=x"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for severity in ("watchdog", "page", "ticket")
    }
    assert asked == {"watchdog": "other-site,watchdog", "page": "page", "ticket": "ticket"}
    (hook,) = next(it for it in yaml.safe_load(text)["receivers"] if it["name"] == "other-site")["webhook_configs"]
    assert hook["url"] == "https://10.1.0.9:8407/hapacs/watchdog"
    assert hook["http_config"]["tls_config"]["cert_file"] == "/etc/tls/watchdog.crt"
    assert hook["send_resolved"] is False


def test_receivers_have_what_the_settings_say() -> None:
    found = {it["name"]: it for it in yaml.safe_load(rendered(ROUTES))["receivers"]}
    assert [it["to"] for it in found["page"]["email_configs"]] == ["night@hospital.example, pacs@hospital.example"]
    assert [it["url"] for it in found["page"]["webhook_configs"]] == ["https://chat.hospital.example/hook"]
    assert "email_configs" not in found["ticket"]
    assert found["watchdog"]["webhook_configs"][0]["send_resolved"] is False


def test_no_secret_is_in_the_configuration() -> None:
    text = rendered(ROUTES)
    assert "smtp_auth_password_file: /etc/secrets/mail" in text
    assert "credentials_file: /etc/secrets/chat" in text


def test_a_node_that_is_gone_hides_what_is_about_it_only() -> None:
    rules = yaml.safe_load(rendered(ROUTES))["inhibit_rules"]
    (of_node,) = [rule for rule in rules if rule["source_matchers"] == ['alertname="NodeDown"']]
    assert of_node["equal"] == ["site", "node"]
    # Alerts of the whole site carry no node, and stay.
    assert 'node!=""' in of_node["target_matchers"]


def test_labels_of_inhibition_are_those_of_alerts() -> None:
    labels = {label for rule in expressions.rules() if "alert" in rule for label in rule["labels"]}
    assert labels == {"severity", "matter", "covered_by_page"}
