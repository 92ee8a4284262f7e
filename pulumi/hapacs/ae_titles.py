"""AE titles: the one rule for those that a site can use; settings and roles both apply it.

Every title that DICOM allows works: it is quoted for HAProxy, Orthanc and JSON.
"""

import re
from collections.abc import Iterable, Iterator

MAXIMUM_LENGTH = 16

HEALTH_CHECK = "HAPROXY"
"""The calling title of the balancer's health checks; no other application entity may use it."""


def problem(title: str) -> str:
    """Return why a text can't be an AE title, or an empty string.

    Source: DICOM PS3.5 section 6.2, value representation AE: 1 to 16 characters of the default repertoire, without
    control characters and the backslash, not only spaces. Leading and trailing spaces have no meaning there, so two
    titles that differ in them are one title; they are refused, so that titles can be compared as text.
    """
    if not title.strip(" "):
        return "an AE title can't be empty or only spaces; give 1 to 16 characters"
    if len(title) > MAXIMUM_LENGTH:
        return f"an AE title has at most {MAXIMUM_LENGTH} characters; this one has {len(title)}"
    if re.search(r"[^\x20-\x7e]|\\", title):
        return "an AE title holds letters, digits and signs of ASCII, but no backslash; remove the other characters"
    if title != title.strip(" "):
        return "an AE title has no leading or trailing space here; remove it"
    return ""


def clashes(uses: Iterable[tuple[str, str]], health_check: str = HEALTH_CHECK) -> Iterator[tuple[str, str]]:
    """Yield each place of a title that is already in use, and why that is wrong.

    Parameters
    ----------
    uses
        Pairs of the place of a title and the title.
    health_check
        The title that belongs to the health check.
    """
    first: dict[str, str] = {}
    for where, title in uses:
        if title == health_check:
            yield where, f"AE title {title} belongs to the balancer's health check; give another one"
        elif title in first:
            yield where, f"AE title {title} is already used by {first[title]}; give another one"
        first.setdefault(title, where)
