"""The primary site is lost while it stores, the second one leads, and the lead comes back: no image is lost."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hapacs.dicom import Peer
from hapacs.dicom.client import echo
from hapacs.load.check import check
from hapacs.load.ledger import Ledger
from hapacs.load.plan import Plan, sender
from hapacs.load.waiting import eventually
from hapacs.site import takeover
from hapacs.site.access import Site
from hapacs.site.collect import collect
from hapacs.site.problems import blocking_problems
from hapacs.site.takeover import Sites
from tests.cluster.conftest import Lab

pytestmark = pytest.mark.timeout(20 * 60)
BEFORE, MEANWHILE, FEW = 40, 40, 8
SOON = timedelta(seconds=5)
LOAD = Plan(shares={"ct": 1}, ct_rows=256)


def said(lab: Lab, *words: str, code: int = 0) -> dict[str, Any]:
    """Run a command of `hapacs dr`, and return its JSON."""
    done = lab.hapacs("dr", words[0], lab.deployment.name, *words[1:], "--json")
    assert done.returncode == code, done.stderr
    document: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
    return document | {"error": done.stderr}


def store(site: Site, ledger: Ledger, images: int) -> None:
    """Store until so many more images are acknowledged."""
    before = ledger.counts()["acknowledged"]
    with sender(site, ledger, LOAD):
        eventually("images are acknowledged", lambda: ledger.counts()["acknowledged"] >= before + images, 180, 0.2)


def copied(lab: Lab) -> bool:
    """Return whether each site has the images of the other one."""
    return all(one.caught_up for one in Sites.of(lab.sites).look())


def images_of(lab: Lab, study: str) -> tuple[int, int]:
    """Return how many images of a study the sites have in their indexes."""
    done = lab.hapacs("dr", "compare", lab.deployment.name, "--study", study, "--json")
    found = json.loads(done.stdout)
    return int(found["compared"]), int(found["there"])


@pytest.fixture
def ledger(tmp_path: Path) -> Generator[Ledger]:
    made = Ledger(tmp_path / "ledger.sqlite")
    yield made
    made.close()


@pytest.fixture
def _primary_leads_again(lab: Lab) -> Generator[None]:
    yield
    for node in lab.site.nodes:
        lab.switch_on(node)
    eventually("the primary site is whole", lambda: not blocking_problems(collect(lab.site)), 300, 5)
    if takeover.look(lab.site).state != "leads":
        lab.hapacs("dr", "failback", lab.deployment.name)


@pytest.mark.long
@pytest.mark.usefixtures("_primary_leads_again")
def test_no_image_is_lost_with_the_primary_site_and_the_lead_comes_back(
    lab: Lab, ledger: Ledger, tmp_path: Path
) -> None:
    primary, second = lab.sites
    eventually("both sites have all images", lambda: copied(lab), 300, 2)
    store(primary, ledger, BEFORE)
    eventually("both sites have all images", lambda: copied(lab), 120, 2)
    # The second site has them as its own: found once, with equal bytes, archived and locked.
    assert check(second, ledger).problems == []

    # The primary one answers: nothing is promoted without the number of images that it would cost.
    refused = said(lab, "promote", code=3)
    assert "0 of its acknowledged images are not at" in refused["error"]

    for node in primary.nodes:
        lab.switch_off(node)
    promoted = said(lab, "promote")
    assert promoted["leads"] == second.name
    assert (promoted["primary_answered"], promoted["missing"]) == (False, 0)
    # Modalities keep the titles of the site that is lost.
    title = primary.contract["dicom"]["store_ae"]
    entry = Peer(second.vip, second.contract["dicom"]["port"], title)
    echo(second.caller, entry)
    store(second, ledger, MEANWHILE)

    for node in primary.nodes:
        lab.switch_on(node)
    eventually("the primary site is fenced", lambda: takeover.look(primary).state == "fenced", 300, 2)
    eventually("the primary site is whole", lambda: not blocking_problems(collect(lab.site)), 300, 5)
    other = Ledger(tmp_path / "refused.sqlite")
    with sender(primary, other, replace(LOAD, associations=1)):
        eventually("an image is refused", other.reasons, 60, 0.2)
    assert other.counts()["acknowledged"] == 0
    other.close()

    back = said(lab, "failback")
    assert (back["leads"], back["comparison"]["equal"]) == (primary.name, True)
    assert [one.state for one in Sites.of(lab.sites).look()] == ["leads", "follows"]
    store(primary, ledger, BEFORE)
    eventually("both sites have all images", lambda: copied(lab), 120, 2)
    for site in lab.sites:
        assert check(site, ledger).problems == [], site.name


def test_a_deletion_travels_and_is_undone_at_both_sites(lab: Lab, ledger: Ledger) -> None:
    primary, second = lab.sites
    store(primary, ledger, FEW)
    eventually("both sites have all images", lambda: copied(lab), 120, 2)
    study = next(ledger.series()).study
    name, images = lab.deployment.name, images_of(lab, study)
    assert images[0] == images[1] > 0
    deleted = lab.hapacs("study", "delete", name, study, "--why", "wrong scan", "--yes")
    assert deleted.returncode == 0, deleted.stderr
    eventually("both sites have it no more", lambda: images_of(lab, study) == (0, 0), 60, 2)
    # The bytes stay at both, and each catalog says who deleted it there.
    listed = lab.hapacs("study", "deleted", name, "--site", second.name, "--json")
    (found,) = [one for one in json.loads(listed.stdout)["studies"] if one["study"] == study]
    assert found["callers"] == ["user:hapacs-replica"]
    restored = lab.hapacs("study", "restore", name, study)
    assert restored.returncode == 0, restored.stderr
    eventually("both sites have it again", lambda: images_of(lab, study) == images, 60, 2)
    for site in lab.sites:
        assert check(site, ledger).problems == [], site.name


def test_each_site_hears_the_watchdog_of_the_other_one(lab: Lab) -> None:
    def heard(site: Site) -> bool:
        found = takeover.look(site).standing
        # Both are noted when the site gets another one. Later only a message moves the first.
        return datetime.fromisoformat(found["watched_at"]) > datetime.fromisoformat(found["changed_at"]) + SOON

    for site in lab.sites:
        # It is said every two minutes.
        eventually("the Watchdog comes", lambda: heard(site), 200, 5)  # noqa: B023 - called at once


def test_the_lead_moves_without_a_loss_while_images_are_stored(lab: Lab, ledger: Ledger) -> None:
    primary, second = lab.sites
    store(primary, ledger, BEFORE)
    moved = said(lab, "switch")
    assert (moved["leads"], moved["comparison"]["equal"]) == (second.name, True)
    store(second, ledger, BEFORE)
    back = said(lab, "failback")
    assert (back["leads"], back["comparison"]["equal"]) == (primary.name, True)
    assert check(primary, ledger).problems == []
