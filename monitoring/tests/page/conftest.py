"""A browser on the status page of a made site."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from hapacs import status_page
from hapacs.errors import HapacsError
from monitoring.tests.page.made import Site, served

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = [
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# A guard against what never comes; a busy machine takes seconds to draw.
expect.set_options(timeout=60_000)
WIDTHS = {"desk": (1280, 1000), "phone": (360, 780), "wall": (3840, 2160)}


@pytest.fixture(scope="session")
def files() -> dict[str, bytes]:
    """The files of the page, with the pinned chart library."""
    try:
        return status_page.served()
    except HapacsError as error:
        pytest.skip(f"the chart library is not there: {error.message}")


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of the screenshots."""
    given = os.environ.get("HAPACS_TEST_ARTIFACTS")
    directory = Path(given) / "status-page" if given else tmp_path_factory.mktemp("screenshots")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium."""
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not there: run `make browser`, or `sh pulumi/setup/packages.sh chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def site() -> Site:
    """A made site on which all is well; a test changes it before it looks."""
    return Site()


Look = Callable[..., Page]


@pytest.fixture
def look(browser: Browser, site: Site, files: dict[str, bytes], artifacts: Path) -> Iterator[Look]:
    """Return a function that opens the page at a size and waits until it has asked once; saves a screenshot at the end.

    The page's clock is the test's: `page.clock` makes minutes pass at once. Errors and violated policies fail the test.
    """
    complaints: list[str] = []
    opened: list[tuple[Page, str]] = []
    with served(site, files) as address:

        def opening(name: str, size: str = "desk", *, dark: bool = False) -> Page:
            width, height = WIDTHS[size]
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
                reduced_motion="reduce",
            )
            page = context.new_page()
            page.set_default_timeout(60_000)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            page.clock.install()
            page.goto(address)
            # Not by evaluated text, which the page's policy forbids.
            expect(page.locator("#verdict[data-shown]")).to_have_count(1)
            if site.answers:
                expect(page.locator("#hours figure")).to_have_count(4)
            opened.append((page, name))
            return page

        yield opening
        for page, name in opened:
            page.screenshot(path=artifacts / f"{name}.png", full_page=True)
            page.context.close()
    # What a test takes away is missed, and said by the browser too.
    assert [it for it in complaints if "503" not in it] == []
