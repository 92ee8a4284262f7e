"""State of a site in a few words, for ``hapacs status``."""

from __future__ import annotations

from typing import Any

from hapacs.site.problems import Problem, site_problems
from hapacs.site.running import RunningSite
from hapacs.site.storing import next_store


def summary(site: RunningSite) -> dict[str, Any]:
    """Return the state of a site as a document of plain values.

    ``ok``, ``virtual_address``, ``writer`` (None until something was stored), ``storing``, ``together``, ``problems``
    of the whole site, and ``nodes`` by name. ``storing`` has the ``node`` that would store the next image (None when it
    is not known), and the ``refusal`` (None when the image would be stored). ``together`` lists each ``node`` with
    several ``roles`` of ``storing``, ``database`` and ``address``, and a ``free`` one. A problem has ``subject``,
    ``message`` and ``remedy``.
    """
    problems, storing = site_problems(site), next_store(site)
    return {
        "ok": not problems,
        "virtual_address": site.vip,
        "writer": next(iter(site.writers), None),
        "storing": {"node": storing.node or None, "refusal": storing.refusal or None},
        "together": [vars(one) for one in site.together],
        "problems": [_problem(problem) for problem in problems if not problem.node],
        "nodes": {name: _node(site, name, problems) for name in site.names},
    }


def _node(site: RunningSite, name: str, problems: list[Problem]) -> dict[str, Any]:
    own = [_problem(problem) for problem in problems if problem.node == name]
    if name in site.silent:
        return {
            "problems": own, "running": 0, "database": None, "virtual_address": False, "room": None,
            "database_room": None, "drained": None, "certificate": None, "checks": {},
        }  # fmt: skip
    facts = site.nodes[name]
    return {
        "problems": own,
        "running": sum(unit.active for unit in facts.units.values()),
        "database": None if facts.leads_database is None else "leader" if facts.leads_database else "replica",
        "virtual_address": name in site.holders,
        "room": vars(facts.room) if facts.room else None,
        "database_room": vars(facts.database_room) if facts.database_room else None,
        "drained": facts.drained,
        "certificate": vars(facts.certificate) if facts.certificate else None,
        "checks": {check: vars(state) for check, state in facts.checks.items()},
    }


def _problem(problem: Problem) -> dict[str, str]:
    return {"subject": problem.subject.value, "message": problem.message, "remedy": problem.remedy}
