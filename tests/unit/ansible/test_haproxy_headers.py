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


def pattern(acl: str) -> re.Pattern[str]:
    """Return the regular expression of an access list, without HAProxy's escape of blanks."""
    found = re.search(rf"acl {acl} \S+ -m reg (?:-i )?(.+)$", WEB, re.MULTILINE)
    assert found is not None
    return re.compile(found[1].replace("\\ ", " "), re.IGNORECASE)


@pytest.mark.parametrize(
    ("accepted", "asked"),
    [
        ("image/avif,image/webp,*/*;q=0.8", "image/jpeg"),
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "image/jpeg"),
        ("image/jpeg, */*", "image/jpeg"),
        ("image/*", "image/jpeg"),
        ("image/png, image/*;q=0.5", "image/png"),
        ("image/webp, image/png", "image/png"),
        ("image/gif", "image/gif"),
    ],
)
def test_one_type_is_asked_for_where_a_browser_takes_several(accepted: str, asked: str) -> None:
    """The rules in their order; Orthanc's DICOMweb plugin (1.20) takes a single type."""
    assert pattern("rendered").search("/dicom-web/studies/1/series/2/instances/3/rendered")
    assert pattern("rendered").search("/dicom-web/studies/1/series/2/instances/3/frames/1/thumbnail/")
    assert not pattern("rendered").search("/dicom-web/studies/1/metadata")
    png, jpeg, some_png = pattern("png").search(accepted), pattern("jpeg").search(accepted), "image/png" in accepted
    chosen = accepted
    if png or (some_png and not jpeg):
        chosen = "image/png"
    if jpeg and not png:
        chosen = "image/jpeg"
    assert chosen == asked
    rules = [line.strip() for line in WEB.splitlines() if "set-header Accept image/" in line]
    assert rules == [
        "http-request set-header Accept image/png if rendered png or rendered some_png !jpeg",
        "http-request set-header Accept image/jpeg if rendered jpeg !png",
    ]
