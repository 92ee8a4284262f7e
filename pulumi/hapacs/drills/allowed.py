"""Decides which drills may run on a deployment now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from hapacs.contract import partner
from hapacs.drills import window
from hapacs.drills.model import Drill, OnNode
from hapacs.settings import Settings


def possible(drills: Sequence[Drill], settings: Settings) -> list[Drill]:
    """Return the drills that a deployment can ever run."""
    return [drill for drill in drills if not _impossible(drill, settings)]


def _impossible(drill: Drill, settings: Settings) -> str:
    """Return why a drill can never run on a deployment, or empty."""
    target = settings.target
    if not (target.expendable or drill.production):
        return f"{drill.name} is not marked safe for a site that patients depend on"
    if drill.cuts_power and not target.switches_power:
        return f"{drill.name} cuts the power of a node, and the target {target.kind} can't"
    if drill.elsewhere and not any(partner(settings, site) for site in settings.sites.values()):
        return f"{drill.name} hits the other site, and there is none that gets copies (policy.replicate)"
    if isinstance(drill.fault, OnNode) and drill.fault.own_clock and target.sizing == "shared":
        return f"{drill.name} would be void: the nodes share the clock of one machine, so no single one can be wrong"
    return ""


def refusals(drills: Sequence[Drill], settings: Settings, now: datetime, *, meant: bool) -> list[str]:
    """Return why these drills must not run now; empty when they may.

    Parameters
    ----------
    meant
        Whether the operator gave ``--i-mean-it``.
    """
    found = [reason for drill in drills if (reason := _impossible(drill, settings))]
    if settings.target.expendable:
        return found
    if settings.drills.window is None:
        found.append("there is no maintenance window: set drills.window in settings.yaml")
    elif not window.contains(settings.drills.window, now):
        found.append(f"the maintenance window is {settings.drills.window} (UTC): run it then")
    if not meant:
        found.append("patients depend on this site: add --i-mean-it")
    return found
