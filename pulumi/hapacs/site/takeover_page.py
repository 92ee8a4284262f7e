"""The page that is kept of a promotion, a switch or a fail back: images, RPO, RTO and checks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def page(run: Mapping[str, Any]) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    run
        What `hapacs.site.takeover.promote` or `move` returned, with ``what`` (the command), ``deployment``, ``began``
        and ``ended``; of a move also its ``comparison``.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("takeover.html.j2").render(run=run, good=_good(run))


def _good(run: Mapping[str, Any]) -> bool:
    if run["what"] == "promote":
        return run["missing"] == 0 and run["missing_is_all"] and run["as_of"] is not None
    return bool(run["comparison"]["equal"])
