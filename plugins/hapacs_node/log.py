"""Log events: a name and fields, never a patient's data; UIDs, digests, titles, users and addresses only."""

import logging
from dataclasses import dataclass, field

ROOT = "hapacs"


@dataclass(frozen=True)
class Event:
    """One event of the log.

    Attributes
    ----------
    name : str
        A few fixed words joined by ``_``, for searching.
    fields : dict
        Further values, as text.
    """

    name: str
    fields: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Compose one line, ``event=name key=value key="value with spaces"``, for any values."""
        return " ".join(f"{key}={_quoted(value)}" for key, value in {"event": self.name, **self.fields}.items())


def get(name: str) -> logging.Logger:
    """Return the logger of one part of the node.

    Parameters
    ----------
    name : str
        The part's short name, for example ``das``.
    """
    return logging.getLogger(f"{ROOT}.{name}")


def line(name: str, /, **fields: object) -> Event:
    """Make an event for a logger. Fields that are None are left out.

    Parameters
    ----------
    name : str
        Name of the event.
    **fields : object
        Further values.
    """
    return Event(name, {key: str(value) for key, value in fields.items() if value is not None})


def _quoted(text: str) -> str:
    if text and not any(character.isspace() or character in '"=' or not character.isprintable() for character in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(character if character.isprintable() else " " for character in escaped) + '"'
