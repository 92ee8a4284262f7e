"""Settings of the worklist."""

from typing import Annotated

from pydantic import Field

from hapacs_node.section import Section


class Worklist(Section):
    """The section ``Hapacs.Worklist`` of Orthanc's configuration.

    Attributes
    ----------
    title : str
        The AE title that answers.
    users : frozenset of str
        Users of HTTPS that may read and change the entries.
    keep_days : int
        Days after the start of a scheduled procedure step in which its entry is kept.
    """

    title: Annotated[str, Field(alias="Title")]
    users: Annotated[frozenset[str], Field(alias="Users", min_length=1)]
    keep_days: Annotated[int, Field(alias="KeepDays", ge=1)]
