"""The name of an image in a folder or a bucket, by its UIDs."""

import re

from hapacs_node.catalog.tasks import Task

# What Orthanc keeps as a UID can be any text. A name of one of these characters leads nowhere else.
_SAFE = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")

UNSAFE = "one of its UIDs can't be the name of a file"
"""Why an image with other names is dead."""


def are_safe(task: Task) -> bool:
    """Return whether all three UIDs of an image can be names."""
    return all(map(_SAFE.fullmatch, (task.study, task.series, task.sop)))


def path(task: Task) -> str:
    """Return its name below the folders of its study and series."""
    return f"{task.study}/{task.series}/{task.sop}.dcm"
