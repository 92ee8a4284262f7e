"""Checks of destinations and rules: what a rule names exists, each rule has an effect, and no image comes back."""

from collections.abc import Iterator

from hapacs.settings.models import Settings, Site
from hapacs.settings.partial import UnsoundError
from hapacs.settings.problem import Problem, each
from hapacs_node.routing import checks
from hapacs_node.routing.destination import Destination, DicomDestination, commits
from hapacs_node.routing.model import Rule

# The key that has the host, of kinds without a key `host`.
_KEYS = {"dicomweb": "url", "s3": "endpoint"}


def of_settings(settings: Settings) -> Iterator[Problem]:
    """Yield the problems of the routing of each site."""
    try:
        sites = dict(settings.sites.items())
    except UnsoundError:
        return
    for name, site in sites.items():
        yield from _names(name, site)
        yield from _rules(name, site)
        yield from _prefetches(name, site)
        yield from _senders(settings, name, site)
        yield from _own_addresses(settings, name, site)
        yield from _reports(settings, name, site)
        yield from _requests(settings, name, site)


@each
def _names(name: str, site: Site) -> Iterator[Problem]:
    yield from _problems(name, checks.names(site.routing))


@each
def _prefetches(name: str, site: Site) -> Iterator[Problem]:
    yield from _problems(name, checks.prefetches(site.routing))


@each
def _rules(name: str, site: Site) -> Iterator[Problem]:
    for index, rule in enumerate(site.routing.rules):
        yield from _destinations(name, site, index, rule)
        yield from _contradictions(name, index, rule)
        for earlier in site.routing.rules[:index]:
            if found := [*_shadowed(name, index, rule, earlier), *_overlapping(name, index, rule, earlier)]:
                yield from found
                break


@each
def _senders(settings: Settings, name: str, site: Site) -> Iterator[Problem]:
    for index, rule in enumerate(site.routing.rules):
        yield from _returned(settings, name, index, rule)


@each
def _destinations(name: str, site: Site, index: int, rule: Rule) -> Iterator[Problem]:
    yield from _problems(name, checks.destinations(index, rule, site.routing))


@each
def _contradictions(name: str, index: int, rule: Rule) -> Iterator[Problem]:
    yield from _problems(name, checks.contradictions(index, rule))


@each
def _shadowed(name: str, index: int, rule: Rule, earlier: Rule) -> Iterator[Problem]:
    yield from _problems(name, checks.shadowed(index, rule, [earlier]))


@each
def _overlapping(name: str, index: int, rule: Rule, earlier: Rule) -> Iterator[Problem]:
    yield from _problems(name, checks.overlapping(index, rule, [earlier]))


@each
def _returned(settings: Settings, name: str, index: int, rule: Rule) -> Iterator[Problem]:
    """Yield a rule that sends the images of a caller back to it, because it names no sender."""
    senders = {caller.ae_title for caller in settings.callers if "store" in caller.may}
    for number, label in enumerate(rule.destinations):
        peer = settings.sites[name].routing.destinations.get(label)
        title = peer.ae_title if isinstance(peer, DicomDestination) else ""
        named = any(condition.attribute == "calling_ae" for condition in rule.when)
        if title in senders and not named and checks.takes_from(rule, title):
            yield Problem(
                f"sites.{name}.routing.rules.{index}.destinations.{number}",
                f"{label} is {title}, a caller that stores here, so its images would go back to it; add "
                f"`unless: [{{attribute: calling_ae, equals: {title}}}]`",
            )


@each
def _reports(settings: Settings, name: str, site: Site) -> Iterator[Problem]:
    """Yield destinations that have to report their storage commitment, and can't reach the site to do it."""
    reporting = {caller.ae_title for caller in settings.callers if {"store", "report"} & set(caller.may)}
    for label, destination in site.routing.destinations.items():
        if not commits(destination):
            continue
        path = f"sites.{name}.routing.destinations.{label}"
        if destination.ae_title not in reporting:
            yield Problem(
                f"{path}.confirm",
                f"{destination.ae_title} brings its reports as a caller, and no caller of this title may report; add "
                "it to callers with `may: [report]`",
            )
        if destination.calling_ae not in {None, site.dicom.store_ae}:
            yield Problem(
                f"{path}.calling_ae",
                f"reports would be sent to {destination.calling_ae}, which the virtual address does not know; remove "
                "it, or choose another confirm",
            )


@each
def _requests(settings: Settings, name: str, site: Site) -> Iterator[Problem]:
    """Yield callers whose requests for storage commitment end studies, and that can't make one."""
    storing = {caller.ae_title for caller in settings.callers if "store" in caller.may}
    for number, title in enumerate(site.routing.complete_by_commitment):
        if title not in storing:
            yield Problem(
                f"sites.{name}.routing.complete_by_commitment.{number}",
                f"{title} is no caller that may store, so it asks for no storage commitment; add it to callers, or "
                "remove it here",
            )


@each
def _own_addresses(settings: Settings, name: str, site: Site) -> Iterator[Problem]:
    for label, destination in site.routing.destinations.items():
        key = _KEYS.get(destination.kind, "host")
        for other in settings.sites.items():
            yield from _loop(f"sites.{name}.routing.destinations.{label}.{key}", destination, site, other)


@each
def _loop(field: str, destination: Destination, site: Site, other: tuple[str, Site]) -> Iterator[Problem]:
    """Yield a destination at the site itself, or at another one that sends back."""
    name, theirs = other
    if destination.host not in _addresses(theirs):
        return
    if theirs is site:
        yield Problem(
            field,
            f"{destination.host} is an address of this site, so images would come back; give that of another system",
        )
    elif any(back.host in _addresses(site) for back in theirs.routing.destinations.values()):
        yield Problem(
            field,
            f"{destination.host} is an address of the site {name}, which has a destination here, so images would go "
            "round; remove one of the two",
        )


def _addresses(site: Site) -> set[str]:
    nodes = site.nodes.values()
    own = {str(site.vip.address), *(str(node.address) for node in nodes)}
    return own | {str(node.management_address) for node in nodes if node.management_address is not None}


def _problems(name: str, mistakes: Iterator[checks.Mistake]) -> Iterator[Problem]:
    for mistake in mistakes:
        yield Problem(f"sites.{name}.routing.{mistake.field}", mistake.message)
