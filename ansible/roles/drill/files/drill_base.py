"""What every kind of fault needs."""

from __future__ import annotations

import subprocess


class RefusedError(Exception):
    """The fault can't be injected; nothing was changed."""


def run(*words: str, text: str | None = None) -> str:
    """Run a command and return its output."""
    return subprocess.run(words, check=True, capture_output=True, text=True, input=text).stdout
