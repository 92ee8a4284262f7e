"""A user logs in, finds a study, opens and views it: each kind of study, and with a node switched off."""

from __future__ import annotations

import contextlib
import io
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, expect
from playwright.sync_api import Error as PlaywrightError

from hapacs.load.waiting import eventually
from hapacs.site.access import Site
from hapacs.site.collect import collect
from hapacs.targets.lab import power
from hapacs.verify import services
from hapacs.verify.report import CheckFailedError
from tests.browser.conftest import CHROMIUM, OPTIONS, Visit
from tests.browser.studies import FINDING, Study

CANVAS = ".cornerstone-canvas"
# From the middle of a viewport, where no text covers the image.
MIDDLE = slice(0.2, 0.8)
SHADES = 12
DRAWN_S = 90
NODE_LOST_S = 60
BACK_S = 150

pytestmark = pytest.mark.timeout(600)


def look(visit: Visit, selector: str = CANVAS) -> NDArray[np.uint8]:
    """Return the middle of the first viewport as grey values."""
    picture = Image.open(io.BytesIO(visit.page.locator(selector).first.screenshot())).convert("L")
    grey = np.asarray(picture)
    rows, columns = (slice(int(size * MIDDLE.start), int(size * MIDDLE.stop)) for size in grey.shape)
    return grey[rows, columns]


def is_drawn(visit: Visit) -> bool:
    """Return whether an image is drawn: body and disc have more shades than an empty viewport with a spinner."""
    if visit.page.locator(CANVAS).count() == 0:
        return False
    grey = look(visit)
    shades, counts = np.unique(grey, return_counts=True)
    return len(shades) >= SHADES and bool(counts.max() < 0.9 * grey.size)


def wait_for_picture(visit: Visit) -> NDArray[np.uint8]:
    """Wait until an image is drawn and no longer changes, and return it."""
    eventually("a picture is drawn", lambda: is_drawn(visit), DRAWN_S)
    previous = look(visit)

    def still() -> bool:
        nonlocal previous
        before, previous = previous, look(visit)
        return np.array_equal(before, previous)

    eventually("the picture stands still", still, DRAWN_S)
    return previous


def changed(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> bool:
    """Return whether another image is shown: the disc has moved."""
    return float(np.mean(np.abs(before.astype(int) - after.astype(int)) > 20)) > 0.01


def scroll(visit: Visit) -> None:
    """Turn the mouse wheel over the image."""
    visit.page.locator(CANVAS).first.hover()
    for _ in range(5):
        visit.page.mouse.wheel(0, 120)
        visit.page.wait_for_timeout(100)


def see(visit: Visit, study: Study, name: str) -> None:
    """Open a study, wait for its image, turn the wheel, and wait for another image."""
    visit.open(study)
    before = wait_for_picture(visit)
    visit.screenshot(name)
    if len(study.files) == 1 and "US" not in study.description:
        return
    scroll(visit)
    eventually("another picture is shown", lambda: changed(before, look(visit)), DRAWN_S)


def nothing_is_held_against(visit: Visit, site: Site) -> None:
    """Check that all requests went to this site and succeeded, without errors or violated policies."""
    assert visit.hosts == {site.vip}
    assert visit.refused == []
    assert [it for it in visit.complaints if "Failed to load resource" not in it] == []


def test_a_study_is_found_in_the_list_and_opened(visit: Visit, site: Site, shown: dict[str, Study]) -> None:
    study = shown["CT"]
    visit.page.goto(visit.base)
    visit.page.locator("table input").first.fill(study.patient)
    rows = visit.page.get_by_role("row").filter(has_text=study.patient)
    expect(rows).to_have_count(len(shown))
    visit.screenshot("list")
    rows.filter(has_text=study.description).first.dblclick()
    wait_for_picture(visit)
    assert study.uid in visit.page.url
    nothing_is_held_against(visit, site)


@pytest.mark.parametrize("kind", ["CT", "MR", "CR", "US", "JPEG 2000", "RLE"])
def test_images_are_drawn_and_scroll(visit: Visit, site: Site, shown: dict[str, Study], kind: str) -> None:
    see(visit, shown[kind], kind.replace(" ", "-").lower())
    nothing_is_held_against(visit, site)


def test_a_report_is_read(visit: Visit, site: Site, shown: dict[str, Study]) -> None:
    visit.open(shown["SR"])
    expect(visit.page.get_by_text(FINDING).first).to_be_visible()
    visit.screenshot("sr")
    nothing_is_held_against(visit, site)


def test_a_document_is_shown(visit: Visit, site: Site, shown: dict[str, Study]) -> None:
    visit.open(shown["PDF"])
    document = visit.page.locator("object[type='application/pdf']")
    expect(document).to_be_visible()

    def red() -> bool:
        picture = np.asarray(Image.open(io.BytesIO(document.screenshot())).convert("RGB")).astype(int)
        return float(np.mean((picture[..., 0] > 200) & (picture[..., 1] < 60) & (picture[..., 2] < 60))) > 0.02

    eventually("the document's red square is drawn", red, DRAWN_S)
    visit.screenshot("pdf")
    nothing_is_held_against(visit, site)


@pytest.mark.parametrize("login", [None, {"username": "verify", "password": "wrong-password"}])
def test_nothing_is_shown_without_a_login(browser: Browser, site: Site, login: dict[str, str] | None) -> None:
    context = browser.new_context(http_credentials=login)  # type: ignore[arg-type]
    page = context.new_page()
    answers: list[int] = []
    page.on("response", lambda answer: answers.append(answer.status))
    for path in ("/", "/viewer", "/app-config.js", "/dicom-web/studies"):
        answers.clear()
        with contextlib.suppress(PlaywrightError):
            # Newer browsers show no page without a login, and fail.
            page.goto(f"https://{site.vip}:{site.contract['https_port']}{path}", wait_until="commit")
        assert set(answers) == {401}, path
    context.close()


def test_a_browser_that_does_not_know_the_authority_warns(site: Site, tmp_path: Path) -> None:
    # Proves that the browser of the other tests does check the certificate.
    command = [CHROMIUM, "--headless", *OPTIONS, f"--user-data-dir={tmp_path}/profile", "--dump-dom"]
    done = subprocess.run(
        [*command, f"https://{site.vip}:{site.contract['https_port']}/"],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "ERR_CERT_AUTHORITY_INVALID" in done.stdout + done.stderr


def test_viewer_works_after_the_address_owner_is_lost(visit: Visit, site: Site, shown: dict[str, Study]) -> None:
    see(visit, shown["CT"], "before-node-off")
    (victim,) = collect(site).holders
    container = f"{site.deployment.name}-{victim}"
    power.power_off(container)
    try:
        eventually("the site answers again", lambda: answers(site), NODE_LOST_S)
        visit.refused.clear()
        visit.complaints.clear()
        see(visit, shown["MR"], "node-off")
        nothing_is_held_against(visit, site)
    finally:
        power.power_on(container, site.deployment.ssh_key.parent)
    eventually(f"{victim} is back by itself, with all its services", lambda: whole(site), BACK_S, 3)


def answers(site: Site) -> bool:
    """Return whether page and studies are served."""
    url = f"https://{site.vip}:{site.contract['https_port']}/viewer"
    try:
        return all(site.web.get(it, timeout=5).status_code < 400 for it in (url, "studies?limit=1"))
    except httpx.HTTPError:
        return False


def whole(site: Site) -> bool:
    """Return whether all services of all nodes work."""
    try:
        services.check_services(site, collect(site))
    except CheckFailedError as error:
        raise RuntimeError(error.message) from error
    return True
