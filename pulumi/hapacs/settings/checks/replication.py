"""Checks of the copies at the second site: there is one, and the primary site's settings switch copies on for both."""

from collections.abc import Iterator

from hapacs.settings.models import Settings
from hapacs.settings.problem import Problem, each


@each
def of_settings(settings: Settings) -> Iterator[Problem]:
    """Yield a site that copies its images, and can't."""
    seconds = [name for name, site in settings.sites.items() if site.role == "dr"]
    for name, site in settings.sites.items():
        path = f"sites.{name}.policy.replicate"
        wanted = site.policy.replicate
        if wanted.limited is not None and wanted.mb_per_s is None:
            yield Problem(f"{path}.limited", "it limits nothing without mb_per_s; give that too, or remove limited")
        if not wanted.enabled:
            continue
        if site.role != "primary":
            yield Problem(
                f"{path}.enabled",
                "the primary site's setting switches copies on in both directions; remove it here, and set it there",
            )
        elif len(seconds) != 1:
            found = ", ".join(seconds) or "none"
            yield Problem(
                f"{path}.enabled", f"images are copied to the one site with the role dr (found: {found}); add one"
            )
