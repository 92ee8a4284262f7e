"""What nodes read of a caller comes from the balancer, never from the client."""

from __future__ import annotations

import re

import pytest

from tests.unit.ansible.loading import ANSIBLE

TEMPLATE = (ANSIBLE / "roles" / "haproxy" / "templates" / "haproxy-dicomweb.cfg.j2").read_text(encoding="utf-8")
WEB = TEMPLATE[TEMPLATE.index("frontend web") : TEMPLATE.index("\nbackend store_web")]


@pytest.mark.parametrize(
    ("header", "value"), [("X-Forwarded-For", "%[src]"), ("X-Hapacs-User", "%[var(txn.user)]"), ("Forwarded", '"for=')]
)
def test_caller_headers_are_set_after_those_of_the_client_are_deleted(header: str, value: str) -> None:
    deleted = re.search(rf"http-request del-header ({re.escape(header)}$|X- -m beg)", WEB, re.MULTILINE)
    written = WEB.index(f"http-request set-header {header} {value}")
    assert deleted is not None
    assert deleted.start() < written < WEB.index("use_backend")
    assert WEB.count(f"set-header {header} ") == 1


def test_the_user_is_set_once_the_login_is_checked() -> None:
    assert WEB.index("http-request auth realm") < WEB.index("set-var(txn.user) http_auth_user")
