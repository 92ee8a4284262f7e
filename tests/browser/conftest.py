"""A browser that trusts the site's authority, and studies to view."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    ViewportSize,
    sync_playwright,
)

from hapacs.deployment import Deployment
from hapacs.dicom import multipart
from hapacs.site.access import Site, sites
from tests.browser import studies
from tests.browser.studies import Study

CHROMIUM = "/usr/bin/chromium"
# Debian's Chromium without a graphics card, run by root and without its background requests to its vendor.
OPTIONS = [
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",
]
SIZE: ViewportSize = {"width": 1400, "height": 900}
_TIMEOUT_MS = 60_000


@pytest.fixture(scope="session")
def site() -> Site:
    """The tested site; it has to be up."""
    return sites(Deployment.load(os.environ.get("HAPACS_TEST_DEPLOYMENT", "lab")))[0]


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of the screenshots."""
    given = os.environ.get("HAPACS_TEST_ARTIFACTS")
    directory = Path(given) / "browser" if given else tmp_path_factory.mktemp("screenshots")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def shown(site: Site) -> dict[str, Study]:
    """One study of each kind, stored through the virtual address."""
    made = studies.all_kinds(f"MADE-{os.urandom(4).hex()}")
    for study in made.values():
        content_type, body = multipart.encode(study.files, "application/dicom")
        answer = site.web.post(
            "studies",
            content=body,
            headers={"Content-Type": content_type, "Accept": "application/dicom+json"},
        )
        assert answer.status_code == httpx.codes.OK, study.description
        assert len(answer.json()["00081199"]["Value"]) == len(study.files), study.description
    return made


@pytest.fixture(scope="session")
def home(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose certificate store has the site's authority, as on a workstation: no error is ignored."""
    directory = tmp_path_factory.mktemp("home")
    store = directory / ".pki" / "nssdb"
    store.mkdir(parents=True)
    words = ["certutil", "-d", f"sql:{store}"]
    subprocess.run([*words, "-N", "--empty-password"], check=True)
    authority = str(site.authority_file("edge"))
    subprocess.run([*words, "-A", "-t", "C,,", "-n", "hapacs edge", "-i", authority], check=True)
    return directory


@pytest.fixture(scope="session")
def browser(home: Path) -> Iterator[Browser]:
    """Chromium."""
    environment: dict[str, str | float | bool] = {**os.environ, "HOME": str(home)}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS, env=environment)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A logged-in user of the viewer.

    Attributes
    ----------
    hosts
        Hosts of all requests.
    refused
        Answers with an error status, other than the request for the login.
    complaints
        The browser's errors and its reports of violated policies.
    """

    page: Page
    base: str
    artifacts: Path
    hosts: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def watch(self) -> None:
        """Record the browser's requests and messages."""
        self.page.context.on("request", self._request)
        self.page.context.on("response", self._response)
        self.page.context.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _request(self, request: Request) -> None:
        self.requests.append(request)
        address = urlsplit(request.url)
        # Other schemes belong to the page (blob, data) or to the browser (its PDF viewer).
        if address.scheme in {"http", "https", "ws", "wss"}:
            self.hosts.add(address.hostname or request.url)

    def _response(self, response: Response) -> None:
        if response.status >= httpx.codes.BAD_REQUEST and response.status != httpx.codes.UNAUTHORIZED:
            self.refused.append(f"{response.status} {urlsplit(response.url).path}")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def open(self, study: Study) -> None:
        """Open a study by its address, as a link from another system does."""
        self.page.goto(f"{self.base}/viewer?StudyInstanceUIDs={study.uid}")

    def screenshot(self, name: str) -> None:
        """Save a screenshot."""
        self.page.screenshot(path=self.artifacts / f"{name}.png")


@pytest.fixture
def context(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    """A new browser profile that logs in when the site requires it."""
    users = site.secrets["hapacs_secret_dicomweb_users"]
    context = browser.new_context(
        http_credentials={"username": "verify", "password": users["verify"]}, viewport=SIZE, reduced_motion="reduce"
    )
    context.set_default_timeout(_TIMEOUT_MS)
    yield context
    context.close()


@pytest.fixture
def visit(context: BrowserContext, site: Site, artifacts: Path, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A visit to the viewer; a screenshot is saved when the test fails."""
    visit = Visit(context.new_page(), f"https://{site.vip}:{site.contract['https_port']}", artifacts)
    visit.watch()
    yield visit
    if request.node.stash.get(_FAILED, False):
        name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
        visit.screenshot(f"failed-{name}")


_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Record failures, and report the directory of the screenshots."""
    report = yield
    if report.when == "call" and report.failed:
        item.stash[_FAILED] = True
        if (directory := getattr(item, "funcargs", {}).get("artifacts")) is not None:
            report.sections.append(("Screenshots", str(directory)))
    return report
