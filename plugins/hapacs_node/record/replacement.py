"""Decides whether an image may replace one that is stored with the same UIDs and other bytes (`policy.replace`)."""

from dataclasses import dataclass
from typing import Literal

from hapacs_node.catalog.catalog import Catalog
from hapacs_node.errors import ReplacementRefusedError
from hapacs_node.record.identity import Identity
from hapacs_node.replication.names import CALLER

Rule = Literal["allow", "same_caller", "never"]


@dataclass(frozen=True)
class Replacement:
    """The site's rule for images that would replace others.

    Parameters
    ----------
    rule : str
        ``allow``; ``same_caller``: only the caller that stored the present image; or ``never``.
    catalog : Catalog
        Knows the present image.
    """

    rule: Rule
    catalog: Catalog

    def has_copy(self, about: Identity, digest: str) -> bool:
        """Return whether a copy of the other site is here already; a site never replaces its own images by copies.

        Raises
        ------
        ReplacementRefusedError
            When an image with its UIDs and other bytes came to this site itself: both sites stored one. People decide.
        CatalogError
            When the catalog can't be asked.
        """
        if about.study is None or about.series is None or about.sop is None:
            return False
        found = self.catalog.present(about.study, about.series, about.sop)
        if any(present.digest == digest for present in found):
            return True
        for present in found:
            if present.caller != CALLER:
                raise ReplacementRefusedError(
                    f"image {about.sop} came to both sites with different bytes: here it is {present.digest} of "
                    f"{present.caller or 'an unknown caller'}, and stays"
                )
        return False

    def check(self, about: Identity, digest: str, caller: str | None) -> None:
        """Return when an image may be stored. Equal bytes are a repeated store, which is always permitted.

        Parameters
        ----------
        about : Identity
            The image's UIDs.
        digest : str
            SHA-256 of its bytes.
        caller : str or None
            Who stores it; None when it isn't known.

        Raises
        ------
        ReplacementRefusedError
            When it may not replace the present image.
        CatalogError
            When the catalog can't be asked.
        """
        if self.rule == "allow":
            return
        if about.study is None or about.series is None or about.sop is None:
            raise ReplacementRefusedError(
                f"an image whose UIDs can't be read is refused (policy.replace: {self.rule}): check the file"
            )
        for present in self.catalog.present(about.study, about.series, about.sop):
            same_caller = caller is not None and caller == present.caller
            if present.digest == digest or (self.rule == "same_caller" and same_caller):
                continue
            old, new = (name or "an unknown caller" for name in (present.caller, caller))
            raise ReplacementRefusedError(
                f"image {about.sop} is stored with other bytes ({present.digest}) by {old}: "
                f"{new} may not replace it (policy.replace: {self.rule})"
            )
