"""The base of all parts of the settings."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Base of all parts: frozen, and an unknown key is an error instead of a setting that does nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")
