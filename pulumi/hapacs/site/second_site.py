"""How far the second site of a site is behind, and whether it has the same images, by `hapacs-node replication`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hapacs.services.nodes import pair
from hapacs.site import node_program
from hapacs.site.access import NodeError, Site

# A hundred million images are compared in hours.
_COMPARE_S = 12 * 3600


def compare(site: Site, study: str) -> dict[str, Any]:
    """Compare the images of a site with those of its second one, from the first node that answers.

    Parameters
    ----------
    study
        Only images of this study; empty for all.
    """
    words = ("replication", "compare", *(("--study", study) if study else ()))
    return node_program.first_report(site, words, _COMPARE_S)


def lacking(lag: Mapping[str, Any]) -> int:
    """Return how many images the second site lacks, new and past ones, as far as they are planned.

    Parameters
    ----------
    lag
        What `lag` returned, and not ``unknown``.
    """
    return sum(int(lag[name]) for name in ("images", "unplanned", "past_images"))


def lag(site: Site, timeout_s: float) -> dict[str, Any] | None:
    """Return what the second site lacks; None for a site without one.

    Two nodes are asked at the same time, so that one that hangs delays nobody.

    Returns
    -------
    dict or None
        ``name``, ``state`` of this site, the fields of `hapacs_node.catalog.replication.Lag`, and as ``canary`` those
        of `hapacs_node.catalog.canary.Canary` or None; or why they are ``unknown``.
    """
    second = site.contract["routing"].get("second_site")
    if second is None:
        return None

    nodes = pair([node.name for node in site.members("pacs")])
    asked = [node for node in site.members("pacs") if node.name in nodes]
    answers = node_program.reports(site, asked, ("replication", "status"), timeout_s)
    found = next((one for one in answers if not isinstance(one, NodeError) and one["lag"] is not None), None)
    if found is None:
        first = next(iter(answers))
        unknown = first.reason if isinstance(first, NodeError) else "no image was copied yet"
        return {"name": second["name"], "unknown": unknown}
    return {"name": second["name"], "state": found.get("state"), **found["lag"], "canary": found.get("canary")}
