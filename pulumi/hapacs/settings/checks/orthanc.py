"""Check of where Orthanc comes from."""

from collections.abc import Iterator

from hapacs.settings.models import Site
from hapacs.settings.problem import Problem, each


@each
def of_site(path: str, site: Site) -> Iterator[Problem]:
    """Yield the problem of an Orthanc from its authors whose files are not given."""
    if site.policy.orthanc_source == "upstream" and site.policy.orthanc_upstream is None:
        yield Problem(
            f"{path}.policy.orthanc_source",
            "with upstream the files of Orthanc's authors are needed; list them in policy.orthanc_upstream, or choose "
            "backport or debian",
        )
