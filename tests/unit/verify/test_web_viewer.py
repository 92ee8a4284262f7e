"""The check of the viewer, against balancers that are right and balancers that are not."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from hapacs.site.access import Site
from hapacs.verify.report import CheckFailedError
from hapacs.verify.web_viewer import check_viewer

POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'unsafe-inline'"
}
SCRIPT = "/app.bundle.0123456789abcdef.js"
CONFIG = """window.config = {"qidoRoot": "/dicom-web", "wadoRoot": "/dicom-web", "wadoUriRoot": "/dicom-web"};"""
FILES = {"/": "", "/viewer": f'<script defer src="{SCRIPT}"></script>', "/app-config.js": CONFIG, SCRIPT: "start()"}

Answer = Callable[[httpx.Request], httpx.Response]


def balancer(files: dict[str, str], *, opened: str = "", headers: dict[str, str] | None = None) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if "Authorization" not in request.headers and path != opened:
            return httpx.Response(401)
        return httpx.Response(200, text=files[path], headers=headers if headers is not None else POLICY)

    return answer


def check(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> str:
    transport = httpx.MockTransport(answer)

    def get(url: str, **_: Any) -> httpx.Response:
        with httpx.Client(transport=transport) as client:
            return client.get(url)

    monkeypatch.setattr(httpx, "get", get)
    site = SimpleNamespace(
        vip="192.0.2.1",
        contract={"https_port": 443},
        web=httpx.Client(base_url="https://192.0.2.1/dicom-web/", auth=("verify", "password"), transport=transport),
        tls=lambda _authority, client: client,
    )
    return check_viewer(cast(Site, site))


def test_a_viewer_behind_the_login_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "401 without" in check(monkeypatch, balancer(FILES))


@pytest.mark.parametrize("path", list(FILES))
def test_a_way_past_the_login_is_found(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    with pytest.raises(CheckFailedError, match="without a login"):
        check(monkeypatch, balancer(FILES, opened=path))


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"/viewer": "Welcome to nginx"}, "names no script"),
        ({"/app-config.js": CONFIG.replace("/dicom-web", "/elsewhere")}, "looks for images at /elsewhere"),
        ({"/app-config.js": CONFIG + "'https://example.org'"}, "names another host"),
    ],
)
def test_foreign_page_or_configuration_is_reported(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str], problem: str
) -> None:
    with pytest.raises(CheckFailedError, match=problem):
        check(monkeypatch, balancer(FILES | files))


@pytest.mark.parametrize("policy", [{}, {"Content-Security-Policy": "script-src 'self' 'unsafe-inline'"}])
def test_weak_content_security_policy_is_reported(monkeypatch: pytest.MonkeyPatch, policy: dict[str, str]) -> None:
    with pytest.raises(CheckFailedError, match="policy"):
        check(monkeypatch, balancer(FILES, headers=policy))
