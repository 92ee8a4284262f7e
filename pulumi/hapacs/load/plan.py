"""What load is put on a site: connections, images and limits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hapacs.load.connections import CStore, Entrance, Stow
from hapacs.load.ledger import Ledger
from hapacs.load.mix import DEFAULT, Files, kinds, made_images, parse
from hapacs.load.modality import Sender
from hapacs.site.access import Site


@dataclass(frozen=True)
class Plan:
    """Load on a site.

    Attributes
    ----------
    associations, stow
        Concurrent connections by C-STORE and by STOW-RS.
    shares
        Mix of made images, by kind.
    files
        Files to send instead of made images.
    images
        Number of images; None is without limit.
    ct_rows
        Rows and columns of a made CT image.
    timeout_s
        How long a modality waits for an answer.
    """

    associations: int = 2
    stow: int = 0
    shares: dict[str, int] = field(default_factory=lambda: parse(DEFAULT))
    files: Files | None = None
    images: int | None = None
    ct_rows: int = 512
    timeout_s: float = 60


def sender(site: Site, ledger: Ledger, plan: Plan) -> Sender:
    """Return a sender that puts the load on a site while it is entered."""
    peer = replace(site.store_peer, timeout_s=plan.timeout_s)
    by_association = CStore(site.caller, peer, plan.files.kinds if plan.files else kinds())
    by_web = Stow(lambda: site.web_client(plan.timeout_s))
    entrances: list[Entrance] = [by_association] * plan.associations + [by_web] * plan.stow
    source = plan.files.source if plan.files else made_images(plan.shares, rows=plan.ct_rows)
    return Sender(entrances, ledger, source, limit=plan.images, stop_s=4 * plan.timeout_s)
