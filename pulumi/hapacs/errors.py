"""The errors that commands print, and the exit code of each."""

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
    """An error with a remedy.

    Parameters
    ----------
    message
        The problem and its place.
    hint
        What to do next, as a sentence.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}\n{hint}" if hint else message)
        self.message = message
        self.hint = hint


class RefusedError(HapacsError):
    """The command cannot begin; it changed nothing."""

    exit_code = ExitCode.REFUSED


class UsageError(HapacsError):
    """An argument of the command line is wrong."""

    exit_code = ExitCode.USAGE
