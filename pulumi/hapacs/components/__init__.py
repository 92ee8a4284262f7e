"""The parts of a site, as Pulumi components."""

from hapacs.components.cas_store import CasStore, CasStoreArgs
from hapacs.components.das_volume import DasVolume, DasVolumeArgs
from hapacs.components.load_balancer import LoadBalancer, LoadBalancerArgs
from hapacs.components.pacs_node import PacsNode, PacsNodeArgs
from hapacs.components.site import Site, SiteArgs

__all__ = [
    "CasStore",
    "CasStoreArgs",
    "DasVolume",
    "DasVolumeArgs",
    "LoadBalancer",
    "LoadBalancerArgs",
    "PacsNode",
    "PacsNodeArgs",
    "Site",
    "SiteArgs",
]
