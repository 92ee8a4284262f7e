"""Stores the same study at both sides of a comparison."""

from __future__ import annotations

from hapacs.bench.bare import Bare
from hapacs.errors import HapacsError
from hapacs.load import burst
from hapacs.load.images import Study, made_study
from hapacs.site.access import Site

_ASSOCIATIONS = 4


def store(site: Site, reference: Bare, instances: int, rows: int) -> Study:
    """Make a study and store it at both sides, by several associations: the speed of storing doesn't matter here.

    Raises
    ------
    HapacsError
        When a side does not store it.
    """
    study = made_study(instances, rows)
    shares = [
        Study(study.uid, study.series, study.patient, study.images[start::_ASSOCIATIONS])
        for start in range(_ASSOCIATIONS)
    ]
    for peer in (reference.peer, site.store_peer):
        outcome = burst.send(site.caller, peer, shares)
        if outcome.failures:
            raise HapacsError(
                f"{peer.ae_title} did not store a study: {outcome.failures[0]}.",
                "`hapacs verify --only c-store` tries the site.",
            )
    return study
