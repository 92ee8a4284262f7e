"""Decides which drills may run on a deployment now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from hapacs.drills import window
from hapacs.drills.model import Drill, PowerOff
from hapacs.settings import Settings


def possible(drills: Sequence[Drill], settings: Settings) -> list[Drill]:
    """Return the drills that a deployment can ever run: its target switches power, or no patient depends on it."""
    target = settings.target
    return [
        drill
        for drill in drills
        if (target.expendable or drill.production) and (target.switches_power or not isinstance(drill.fault, PowerOff))
    ]


def refusals(drills: Sequence[Drill], settings: Settings, now: datetime, *, meant: bool) -> list[str]:
    """Return why these drills must not run now; empty when they may.

    Parameters
    ----------
    meant
        Whether the operator gave ``--i-mean-it``.
    """
    able = possible(drills, settings)
    found = [
        f"{drill.name} is not marked safe for a site that patients depend on, or its target can't switch power"
        for drill in drills
        if drill not in able
    ]
    if settings.target.expendable:
        return found
    if settings.drills.window is None:
        found.append("there is no maintenance window: set drills.window in settings.yaml")
    elif not window.contains(settings.drills.window, now):
        found.append(f"the maintenance window is {settings.drills.window} (UTC): run it then")
    if not meant:
        found.append("patients depend on this site: add --i-mean-it")
    return found
