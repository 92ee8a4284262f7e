"""Which alerts a command silences while it runs, and for how long at most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hapacs.deployment import Deployment
    from hapacs.drills.model import Drill, Prepared
    from hapacs.silences.causes import Cause
    from hapacs.site.access import Site

LIMITS = {
    # Until `undrain`: the node may be switched off meanwhile. Then DrainForgotten comes too.
    "drain": timedelta(days=1),
    "switchover": timedelta(minutes=15),
    "restart": timedelta(hours=1),
    "renew": timedelta(hours=1),
    "rotate": timedelta(hours=1),
}
"""After this the silences of a command end by themselves."""
_DRILL = timedelta(minutes=10)
"""What a drill may need beside the time for which its fault stays."""


@contextmanager
def silenced(
    deployment: Deployment, verb: str, given: Mapping[str, object], warn: Callable[[str], None]
) -> Iterator[None]:
    """Silence what the playbook of a command causes while the block runs.

    Parameters
    ----------
    given
        The playbook's variables.
    warn
        Says what could not be silenced; the command goes on.
    """
    from hapacs.silences import during  # noqa: PLC0415 - its client is slow to import
    from hapacs.site.access import sites  # noqa: PLC0415

    chosen = [site for site in sites(deployment) if _touches(site, given)]
    with ExitStack() as stack:
        for site in chosen if verb in LIMITS else []:
            causes, stay = _causes(site, verb, given), verb == "drain"
            words = comment(verb, deployment.name, given)
            stack.enter_context(during.silenced(site, causes, words, LIMITS[verb], warn, stay=stay))
        yield
    for site in chosen if verb == "undrain" else []:
        during.lift(site, comment("drain", deployment.name, given), warn)


@contextmanager
def silenced_drill(site: Site, drill: Drill, prepared: Prepared, warn: Callable[[str], None]) -> Iterator[None]:
    """Silence what the fault of a drill causes while the block runs."""
    from hapacs.drills.model import OtherSite  # noqa: PLC0415
    from hapacs.silences import causes, during  # noqa: PLC0415
    from hapacs.site.access import sites  # noqa: PLC0415

    hit = [name for name in (*prepared.places, *prepared.nodes) if name]
    addresses = {name: node.address for name, node in site.nodes.items()}
    found = causes.of_drill(drill, hit, addresses, site.contract["members"])
    words, limit = f"hapacs drill run {drill.name}", timedelta(seconds=drill.hold_s) + _DRILL
    # A site that is cut off raises the same alerts as this one.
    raising = sites(site.deployment) if drill.fault == OtherSite("cut") else [site]
    with ExitStack() as stack:
        for one in raising:
            stack.enter_context(during.silenced(one, found, words, limit, warn))
        yield


def comment(verb: str, deployment: str, given: Mapping[str, object]) -> str:
    """Return by what people, and a later command, know the silences of a command."""
    named = ("node", "site", "service", "what", "kind")
    return " ".join(["hapacs", verb, deployment, *(f"--{name} {given[name]}" for name in named if name in given)])


def _touches(site: Site, given: Mapping[str, object]) -> bool:
    if "node" in given:
        return given["node"] in site.nodes
    return given.get("site", site.name) == site.name


def _causes(site: Site, verb: str, given: Mapping[str, object]) -> list[Cause]:
    from hapacs.silences import causes  # noqa: PLC0415

    match verb:
        case "drain":
            node = str(given["node"])
            return causes.of_nodes({node: site.nodes[node].address}, site.contract["members"], off=True)
        case "switchover":
            return causes.of_switchover(str(given["what"]))
        case "restart":
            return causes.of_restart(str(given["service"]))
        case "rotate":
            return causes.of_rotation(str(given["kind"]))
    return causes.of_all_services()
