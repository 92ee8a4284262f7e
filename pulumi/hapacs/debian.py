"""Debian 13 as this controller gets it: the release, and the mirror that this machine's apt uses."""

from __future__ import annotations

import subprocess

SUITE = "trixie"


def mirror() -> list[str]:
    """Return the Debian mirror that this machine's apt uses, if it is a Debian machine."""
    words = [
        "apt-get",
        "indextargets",
        "--format",
        "$(SITE)",
        "Created-By: Packages",
        "Origin: Debian",
        "Label: Debian",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.split()[:1]
