"""DCMTK's programs, from Debian: pynetdicom installs some of the same names into the virtual environment."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.conformance.target import Target, run

_PATH = "/usr/bin:/usr/local/bin"
# Proposes what `target.write` compresses with, besides the uncompressed ones.
_PROPOSE = {"1.2.840.10008.1.2.5": "-xr", "1.2.840.10008.1.2.4.90": "-xv"}


def program(name: str) -> str:
    """Return the path of a program; Debian's package dcmtk has it."""
    found = shutil.which(name, path=_PATH)
    assert found is not None, f"{name} is missing: apt-get install dcmtk"
    return found


def version() -> str:
    """Return the version, such as 3.6.7."""
    said = subprocess.run([program("echoscu"), "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v([0-9.]+)", said)
    return found[1] if found else "unknown"


def ends(target: Target, called: str, *, calling: str = "") -> list[str | int]:
    """Return the words that say who calls whom."""
    return ["-aet", calling or target.calling, "-aec", called, target.host, target.port]


def store(target: Target, files: Sequence[Path], directory: Path) -> subprocess.CompletedProcess[str]:
    """Store files, those of each transfer syntax in an association that proposes it."""
    from pydicom import dcmread  # noqa: PLC0415 - takes a second

    kinds: dict[str, list[Path]] = {}
    for file in files:
        syntax = str(dcmread(file, stop_before_pixels=True).file_meta.TransferSyntaxUID)
        kinds.setdefault(_PROPOSE.get(syntax, "-x="), []).append(file)
    done = subprocess.CompletedProcess[str]([], 0, "", "")
    for option, some in kinds.items():
        done = run([program("storescu"), "-v", option, *ends(target, target.store), *some], directory)
        if done.returncode != 0:
            return done
    return done


def find(target: Target, called: str, directory: Path, *words: str) -> list[str]:
    """Send a C-FIND; return what findscu says of each answer."""
    keys = [word for key in words for word in (("-k", key) if not key.startswith("-") else (key,))]
    done = run([program("findscu"), "-v", *keys, *ends(target, called)], directory)
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stdout + done.stderr
    assert "Success" in said, said[-2000:]
    return re.split(r"Find Response(?:: \d+| \d+)", said)[1:]
