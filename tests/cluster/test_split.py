"""The line between two sites is cut, both take images, and all of them are at both sites afterwards."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from hapacs.dicom.client import store as store_samples
from hapacs.dicom.files import Sample, read_sample
from hapacs.errors import HapacsError
from hapacs.load.check import check
from hapacs.load.ledger import Ledger
from hapacs.load.made import encoded, made_ct, part_10
from hapacs.load.waiting import eventually
from hapacs.site import takeover
from hapacs.site.access import Site
from hapacs.site.collect import collect
from hapacs.site.problems import blocking_problems
from tests.cluster.conftest import Lab
from tests.cluster.test_second_site import BEFORE, MEANWHILE, copied, ledger, said, store

__all__ = ["ledger"]
pytestmark = [pytest.mark.long, pytest.mark.timeout(30 * 60)]
_ANY = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_CUT = """
table inet split {{
    chain came {{ type filter hook input priority -300; ip saddr {{ {there} }} drop; tcp dport 8407 drop; }}
    chain goes {{ type filter hook output priority -300; ip daddr {{ {there} }} drop; }}
}}
"""


def cut(site: Site, other: Site) -> None:
    """Cut the line on the nodes of a site. A node that was switched off has no such rule any more."""
    there = ", ".join([other.vip, *(node.address for node in other.nodes.values())])
    for node in site.nodes.values():
        site.run(node, ("sudo", "nft", "-f", "-"), _CUT.format(there=there), 30)


def versions(directory: Path) -> list[Sample]:
    """Make two images with the same UIDs and other pixels."""
    study, series, sop = generate_uid(), generate_uid(), generate_uid()
    made = []
    for seed in (1, 2):
        dataset = made_ct(study, series, 1, 64, seed)
        dataset.SOPInstanceUID = sop
        file = directory / f"{seed}.dcm"
        file.write_bytes(part_10((CTImageStorage, sop, ExplicitVRLittleEndian), encoded(dataset)))
        sample = read_sample(file)
        assert isinstance(sample, Sample)
        made.append(sample)
    return made


def take(site: Site, sample: Sample) -> None:
    (outcome,) = store_samples(site.caller, site.store_peer, [sample])
    assert outcome.stored


def is_fenced(site: Site) -> bool:
    """Return whether a site says that it is fenced; one that starts does not answer yet."""
    with suppress(HapacsError):
        return takeover.look(site).state == "fenced"
    return False


def conflicts(lab: Lab) -> list[dict[str, Any]] | None:
    """Return what both sites have set aside; None while a site does not answer."""
    done = lab.hapacs("dr", "conflicts", lab.deployment.name, "--json")
    if not done.stdout:
        return None
    found: list[dict[str, Any]] = json.loads(done.stdout)["conflicts"]
    assert done.returncode == bool(found)
    return found


def test_images_of_both_sites_are_merged_and_a_person_decides_a_conflict(
    lab: Lab, ledger: Ledger, tmp_path: Path
) -> None:
    primary, second = lab.sites
    eventually("both sites have all images", lambda: copied(lab), 300, 2)
    first, later = versions(tmp_path)

    cut(primary, second)
    store(primary, ledger, BEFORE)
    take(primary, first)
    for node in primary.nodes:
        lab.switch_off(node)
    said(lab, "promote")
    store(second, ledger, MEANWHILE)
    take(second, later)

    for node in primary.nodes:
        lab.switch_on(node)
    eventually("the primary site is fenced", lambda: is_fenced(primary), 300, 2)
    eventually("the primary site is whole", lambda: not blocking_problems(collect(lab.site)), 300, 5)
    # Each gets what the other one took, and keeps its own where both took something.
    eventually("both have set the conflict aside", lambda: conflicts(lab), 600, 5)
    aside = conflicts(lab)
    assert aside is not None
    (found,) = aside
    assert found["sop"] == str(first.sop_instance)
    assert len({one["digest"] for one in found["versions"].values()}) == 2
    refused = lab.hapacs("dr", "failback", lab.deployment.name, "--wait", "30")
    assert refused.returncode != 0
    assert "dr conflicts" in refused.stderr
    assert takeover.look(second).state == "leads"

    said(lab, "keep", "--from", second.name, "--image", found["sop"], "--reason", "second scan")
    eventually("the chosen one is at both", lambda: copied(lab), 300, 2)
    assert conflicts(lab) == []
    back = said(lab, "failback")
    assert (back["leads"], back["comparison"]["equal"]) == (primary.name, True)
    for site in lab.sites:
        assert check(site, ledger).problems == [], site.name
        path = f"studies/{later.study}/series/{later.series}/instances/{later.sop_instance}"
        answer = site.web.get(
            path, headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
        )
        assert later.dataset_bytes in answer.content, site.name
