"""Checks that the viewer is served with a login only, and loads data from this site only."""

from __future__ import annotations

import re

import httpx

from hapacs.site.access import Site
from hapacs.verify.report import CheckFailedError, require

_SCRIPT = re.compile(r'src="(/app\.bundle\.[0-9a-f]{16}\.js)"')
_ROOTS = re.compile(r'"(?:qido|wado|wadoUri)Root": "([^"]*)"')
_DICOMWEB = "/dicom-web"


def check_viewer(site: Site) -> str:
    """Page, script and configuration come with a login, are refused without, and stay at this address."""
    url = f"https://{site.vip}:{site.contract['https_port']}"
    page = _text(site.web.get(f"{url}/viewer"))
    if not (script := _SCRIPT.search(page)):
        raise CheckFailedError("the page at /viewer names no script of the viewer")
    configuration = _text(site.web.get(f"{url}/app-config.js"))
    _text(site.web.get(f"{url}{script[1]}"))
    roots = set(_ROOTS.findall(configuration))
    problems = (
        [] if roots == {_DICOMWEB} else [f"the viewer looks for images at {', '.join(sorted(roots)) or 'no place'}"]
    )
    if "://" in configuration:
        problems.append("the viewer's configuration names another host")
    context = site.tls("edge", client=False)
    for path in ("/", "/viewer", "/app-config.js", script[1]):
        answer = httpx.get(url + path, verify=context, timeout=10)
        if answer.status_code != httpx.codes.UNAUTHORIZED:
            problems.append(f"{path} is answered {answer.status_code} without a login")
    require(problems)
    return f"served with a login, 401 without; images from {_DICOMWEB} of the same address"


def _text(answer: httpx.Response) -> str:
    path = answer.request.url.path
    if answer.status_code != httpx.codes.OK:
        raise CheckFailedError(f"{path} is answered {answer.status_code}")
    scripts = re.search(r"script-src ([^;]*)", answer.headers.get("Content-Security-Policy", ""))
    if scripts is None or "unsafe-inline" in scripts[1]:
        raise CheckFailedError(f"{path} comes without a policy that keeps foreign scripts out")
    return answer.text
