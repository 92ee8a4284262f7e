"""Settings of the modality worklist."""

from typing import Annotated

from pydantic import Field

from hapacs.settings.base import Model
from hapacs.settings.fields import AeTitle, UserName


class Worklist(Model):
    """The modality worklist: scheduled procedure steps that a RIS sends by HTTPS, and modalities ask for by C-FIND.

    Attributes
    ----------
    ae_title
        Title at the virtual address that answers. Callers need ``worklist`` in `may`.
    users
        Users of DICOMweb that may send, read and delete entries: the RIS.
    keep_days
        Days after the start of a step in which its entry is kept.
    """

    ae_title: AeTitle
    users: Annotated[tuple[UserName, ...], Field(min_length=1)]
    keep_days: Annotated[int, Field(strict=True, ge=1, le=365)] = 7
