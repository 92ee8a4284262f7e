"""Settings that are allowed and seldom meant: `hapacs init`, `plan` and `up` print them, and go on."""

from collections.abc import Iterator

from hapacs.settings.models import Caller, Settings, Site
from hapacs.settings.problem import Problem

SHORT_DAYS = 365
LONG_DAYS = 40 * 365


def warnings(settings: Settings) -> list[Problem]:
    """Return what somebody should look at again, of settings that are sound."""
    found = [
        warning
        for name, site in settings.sites.items()
        if not settings.target.expendable
        for warning in _site(f"sites.{name}", site)
    ]
    for index, caller in enumerate(settings.callers):
        found += _caller(settings, f"callers.{index}", caller)
    return found


def _site(path: str, site: Site) -> Iterator[Problem]:
    policy, field = site.policy, f"{path}.policy.retention_days"
    if policy.retention_days < SHORT_DAYS:
        yield Problem(
            field,
            f"a lock of {policy.retention_days} day{'s'[: policy.retention_days - 1]} is short: archived images can be "
            "deleted after it; give as many days as the law asks for (10 years: 3650)",
        )
    if policy.retention_days > LONG_DAYS and policy.retention_mode == "COMPLIANCE":
        yield Problem(
            field,
            f"{policy.retention_days} days are {policy.retention_days // 365} years; with COMPLIANCE nobody can delete "
            "an image earlier or shorten its lock, not even an administrator; check the number",
        )
    if site.role == "primary" and not site.survives_a_node:
        yield Problem(
            f"{path}.policy.tolerated_node_failures", "with 0 the site stops, and may lose images, when a node fails"
        )
    for name, node in site.nodes.items():
        if node.wipe_serials:
            yield Problem(
                f"{path}.nodes.{name}.wipe_serials",
                f"{', '.join(node.wipe_serials)} may be emptied; remove the numbers once the site is up",
            )


def _caller(settings: Settings, path: str, caller: Caller) -> Iterator[Problem]:
    for name, site in settings.sites.items():
        if not any(network.overlaps(client) for network in caller.networks for client in site.networks.clients):
            yield Problem(
                f"{path}.networks",
                f"none of them is in sites.{name}.networks.clients, so {caller.ae_title} can't reach that site",
            )
    if "move" in caller.may and caller.host is None:
        yield Problem(
            path, f"{caller.ae_title} may move, but only to other callers: it has no host and port of its own"
        )
