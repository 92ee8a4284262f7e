"""The one family of errors that people see: each message ends with what to do next."""

from __future__ import annotations


class HapacsError(Exception):
    """Something an operator can act on.

    Parameters
    ----------
    message
        What is wrong.
    hint
        What to do next, as a sentence.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}\n{hint}" if hint else message)
        self.message = message
        self.hint = hint


class RefusedError(HapacsError):
    """Nothing was touched: the command cannot begin."""
