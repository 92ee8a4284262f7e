"""Checks of disks and of the watermarks of a DAS."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from hapacs.settings.models import Node, Settings, Site, TargetSettings
from hapacs.settings.problem import Problem, each
from hapacs_node.watermarks import Misfit, Watermarks

_DAY_S = 24 * 3600
_NAMED_BY_THE_DISK = "/dev/disk/by-id/"
"""Names of this kind come from the disk's own number; by-path is the slot, and equal machines have equal slots."""


@each
def of_site(path: str, site: Site) -> Iterator[Problem]:
    """Yield the problems of a site's watermarks."""
    das, floor = site.disks.das, int(site.policy.das_minimum_free_bytes)
    if das.usable_bytes <= floor:
        yield Problem(
            f"{path}.disks.das",
            f"the DAS holds {das.usable_bytes} bytes, but {floor} must stay free (policy.das_minimum_free_bytes), so "
            "it could store no image; give larger disks or lower das_minimum_free_bytes",
        )
        return
    misfits = Watermarks(site.das_minimum_free_bytes, site.das_evict_below_bytes, site.das_evict_until_bytes).misfits()
    policy = site.policy
    if Misfit.NEVER_ENDS in misfits:
        yield Problem(
            f"{path}.policy.das_evict_to_fraction",
            f"{policy.das_evict_to_fraction} is not below das_evict_above_fraction "
            f"({policy.das_evict_above_fraction}), so eviction would never end; lower it",
        )
    if Misfit.STARTS_TOO_LATE in misfits:
        yield Problem(
            f"{path}.policy.das_evict_above_fraction",
            f"eviction would start with {site.das_evict_below_bytes} bytes free, but images are refused already below "
            f"{site.das_minimum_free_bytes} (das_watermark_fraction, das_minimum_free_bytes); lower it",
        )


@each
def scrub(path: str, site: Site) -> Iterator[Problem]:
    """Yield the problem of a budget that can't be read in a day."""
    integrity = site.policy.integrity
    most_gb = integrity.scrub_mb_per_s * _DAY_S // 1000
    if integrity.scrub_gb_per_day > most_gb:
        yield Problem(
            f"{path}.policy.integrity.scrub_gb_per_day",
            f"{integrity.scrub_gb_per_day} GB can't be read in a day at {integrity.scrub_mb_per_s} MB/s, at most "
            f"{most_gb} GB; lower it or raise scrub_mb_per_s",
        )


@each
def target(settings: Settings) -> Iterator[Problem]:
    """Yield the problems of the target by itself."""
    if settings.target.kind == "static" and settings.target.ssh_user == "root":
        yield Problem("target.ssh_user", "the nodes refuse root by SSH; name a user that may use sudo")


def machines(target: TargetSettings, path: str, site: Site) -> Iterator[Problem]:
    """Yield the problems of machines that the target can't make or use."""
    yield from _gateway(target, path, site)
    yield from _nodes(target, path, site)


@each
def _gateway(target: TargetSettings, path: str, site: Site) -> Iterator[Problem]:
    if target.makes_machines and site.networks.gateway is None:
        yield Problem(f"{path}.networks.gateway", "is missing; add it, the target makes the network and needs it")


@each
def _nodes(target: TargetSettings, path: str, site: Site) -> Iterator[Problem]:
    for name in site.nodes:
        if target.makes_machines:
            yield from _made_node(f"{path}.nodes.{name}", site.nodes[name])
        else:
            yield from _devices(path, site, name)
            yield from _serials(path, site, name)


@each
def _made_node(path: str, node: Node) -> Iterator[Problem]:
    if node.das_devices or node.wipe_serials:
        yield Problem(f"{path}.das_devices", "the target makes the disks itself; remove devices and serial numbers")
    if node.management_address not in (None, node.address):
        yield Problem(f"{path}.management_address", "the target makes one network; remove the address")


@each
def _devices(path: str, site: Site, name: str) -> Iterator[Problem]:
    field, devices = f"{path}.nodes.{name}.das_devices", Counter(site.nodes[name].das_devices)
    if name not in site.members("pacs"):
        if devices:
            yield Problem(field, f"the node is not in {path}.pools.pacs, so it has no DAS; remove the devices")
        return
    for device, count in devices.items():
        if count > 1:
            yield Problem(field, f"{device} is named {count} times; name it once")
    if len(devices) != site.disks.das.count:
        yield Problem(
            field,
            f"{len(devices)} different devices, but {path}.disks.das.count is {site.disks.das.count}; "
            "name each disk of the DAS once",
        )


@each
def _serials(path: str, site: Site, name: str) -> Iterator[Problem]:
    if site.nodes[name].wipe_serials and name not in site.members("pacs"):
        yield Problem(
            f"{path}.nodes.{name}.wipe_serials",
            f"the node is not in {path}.pools.pacs, so it has no DAS; remove the serial numbers",
        )


@each
def between_nodes(settings: Settings) -> Iterator[Problem]:
    """Yield disks that are named at two nodes: one of them would be the wrong one, and might be emptied."""
    users: dict[tuple[str, str], list[str]] = defaultdict(list)
    for site_name, site in settings.sites.items():
        for name in site.nodes:
            for use in _uses(site, name):
                users[use].append(f"sites.{site_name}.nodes.{name}")
    for (field, value), nodes in users.items():
        for node in nodes[1:]:
            yield Problem(f"{node}.{field}", f"{value} is already at {nodes[0]}; a disk belongs to one node")


def _uses(site: Site, name: str) -> set[tuple[str, str]]:
    node = site.nodes[name]
    devices = {("das_devices", device) for device in node.das_devices if device.startswith(_NAMED_BY_THE_DISK)}
    return devices | {("wipe_serials", serial) for serial in node.wipe_serials}
