"""The one family of errors that people see, and the exit code of each."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit codes of the command line; docs/operations/cli.md explains them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNHEALTHY = 4
    INTERRUPTED = 130


class HapacsError(Exception):
    """Something an operator can act on.

    Parameters
    ----------
    message
        What is wrong, and where.
    hint
        What to do next, as a sentence.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}\n{hint}" if hint else message)
        self.message = message
        self.hint = hint


class RefusedError(HapacsError):
    """The command cannot begin; nothing was touched."""

    exit_code = ExitCode.REFUSED


class UsageError(HapacsError):
    """A word of the command line is wrong."""

    exit_code = ExitCode.USAGE
