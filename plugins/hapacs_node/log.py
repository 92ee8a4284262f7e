"""One line an event, `event key=value ...`, never with a patient's data: UIDs and digests only."""

import logging

ROOT = "hapacs"


def get(name: str) -> logging.Logger:
    """Return the logger of one part of the node.

    Parameters
    ----------
    name : str
        The part's short name, for example ``das``.
    """
    return logging.getLogger(f"{ROOT}.{name}")


def line(event: str, /, **fields: object) -> str:
    """Compose one log line.

    Parameters
    ----------
    event : str
        What happened, in a few fixed words that can be searched for.
    **fields : object
        The particulars. Whatever is in a value, the result stays one line.

    Returns
    -------
    str
        ``event key=value key="value with spaces"``.
    """
    return " ".join([event, *(f"{key}={_value(value)}" for key, value in fields.items())])


def _value(value: object) -> str:
    text = str(value)
    if text and not any(character.isspace() or character in '"=' or not character.isprintable() for character in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(character if character.isprintable() else " " for character in escaped) + '"'
