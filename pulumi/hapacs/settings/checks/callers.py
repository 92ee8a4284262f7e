"""Checks of AE titles and other names that must be unique, and of the callers."""

from collections import Counter
from collections.abc import Iterator

from hapacs import ae_titles
from hapacs.settings.models import Caller, Settings, Site
from hapacs.settings.partial import UNSOUND
from hapacs.settings.problem import Problem, each
from hapacs_node.probe.names import TITLE as PROBE


def of_settings(settings: Settings) -> Iterator[Problem]:
    """Yield the problems of names and callers."""
    yield from _titles(settings)
    yield from _names(settings)
    yield from _callers(settings)
    yield from _destinations(settings)


@each
def _titles(settings: Settings) -> Iterator[Problem]:
    uses = [("the monitoring's probe", PROBE)]
    for name, site in settings.sites.items():
        uses.append((f"sites.{name}.dicom.store_ae", site.dicom.store_ae))
        uses.append((f"sites.{name}.dicom.query_ae", site.dicom.query_ae))
        if site.worklist is not None and site.worklist is not UNSOUND:
            uses.append((f"sites.{name}.worklist.ae_title", site.worklist.ae_title))
    if settings.callers is not UNSOUND:
        uses += [(f"callers.{index}.ae_title", caller.ae_title) for index, caller in enumerate(settings.callers)]
    uses.append(("verify.ae_title", settings.verify.ae_title))
    for field, message in ae_titles.clashes((field, title) for field, title in uses if title is not UNSOUND):
        yield Problem(field, message)


@each
def _names(settings: Settings) -> Iterator[Problem]:
    first: dict[tuple[str, object], str] = {}
    for site_name, site in settings.sites.items():
        for kind, value, field in _names_of(f"sites.{site_name}", site):
            if value is UNSOUND:
                continue
            if (kind, value) in first:
                yield Problem(field, f"{kind} {value} is already used by {first[kind, value]}; give another one")
            first.setdefault((kind, value), field)


def _names_of(path: str, site: Site) -> Iterator[tuple[str, object, str]]:
    """Yield what must occur once in the whole deployment: its kind, its value and its field."""
    yield "router id", site.vip.router_id, f"{path}.vip.router_id"
    yield "virtual address", site.vip.address, f"{path}.vip.address"
    if site.nodes is UNSOUND:
        return
    zones: dict[str, str] = {}
    for name, node in site.nodes.items():
        yield "node name", name, f"{path}.nodes.{name}"
        yield "address", node.address, f"{path}.nodes.{name}.address"
        management = node.management_address
        if management is not None and (management is UNSOUND or node.address is UNSOUND or management != node.address):
            yield "address", management, f"{path}.nodes.{name}.management_address"
        if node.zone is not UNSOUND:
            zones.setdefault(node.zone, name)
    for zone, name in zones.items():
        yield "zone", zone, f"{path}.nodes.{name}.zone"


@each
def _callers(settings: Settings) -> Iterator[Problem]:
    for index, caller in enumerate(settings.callers):
        path = f"callers.{index}"
        yield from _networks(settings, path, caller)
        yield from _operations(path, caller)
        yield from _scheduling(settings, path, caller)
        yield from _destination(settings, path, caller)


@each
def _networks(settings: Settings, path: str, caller: Caller) -> Iterator[Problem]:
    clients = [network for site in settings.sites.values() for network in site.networks.clients]
    for network in caller.networks:
        if not any(network.subnet_of(client) for client in clients):
            yield Problem(
                f"{path}.networks",
                f"{network} is in no site's networks.clients, so the firewall drops it; add it to one of them",
            )


@each
def _operations(path: str, caller: Caller) -> Iterator[Problem]:
    for operation, count in Counter(caller.may).items():
        if count > 1:
            yield Problem(f"{path}.may", f"{operation} is named {count} times; name it once")
    if caller.yields and "store" not in caller.may:
        yield Problem(
            f"{path}.yields", "a caller that may not store has no images to refuse; remove it, or add store to may"
        )


@each
def _scheduling(settings: Settings, path: str, caller: Caller) -> Iterator[Problem]:
    if "worklist" in caller.may and all(site.worklist is None for site in settings.sites.values()):
        yield Problem(f"{path}.may", "no site has a worklist; give one of them `worklist`, or remove it from may")


@each
def _destination(settings: Settings, path: str, caller: Caller) -> Iterator[Problem]:
    if (caller.host is None) != (caller.port is None):
        yield Problem(path, "host and port of a C-MOVE destination go together; give both or neither")
    for name, site in settings.sites.items():
        yield from _no_own_address(path, caller, f"sites.{name}", site)


@each
def _no_own_address(path: str, caller: Caller, site_path: str, site: Site) -> Iterator[Problem]:
    if caller.host is None:
        return
    own = {site.vip.address: f"{site_path}.vip"}
    own |= {node.address: f"{site_path}.nodes.{name}" for name, node in site.nodes.items()}
    if caller.host in own:
        yield Problem(
            f"{path}.host", f"{caller.host} is the address of {own[caller.host]}; give the caller's own address"
        )


@each
def _destinations(settings: Settings) -> Iterator[Problem]:
    """Yield callers that may move while no caller, themselves included, has an address to move to."""
    if any(caller.host is not None for caller in settings.callers):
        return
    for index, caller in enumerate(settings.callers):
        yield from _nowhere(f"callers.{index}", caller)


@each
def _nowhere(path: str, caller: Caller) -> Iterator[Problem]:
    if "move" in caller.may:
        yield Problem(
            path,
            "the caller may move, but no caller has a host and a port to which a C-MOVE could send; "
            "give both, or remove move",
        )
