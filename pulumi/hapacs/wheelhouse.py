"""Python packages for the nodes, downloaded on the controller: a node needs no package index."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from hapacs.deployment import PROJECT, cache_directory
from hapacs.errors import HapacsError

REQUIREMENTS = PROJECT / "requirements" / "node.txt"
# A separate list, because only nodes with an archive need it.
ARCHIVE = PROJECT / "requirements" / "archive.txt"
_PLUGINS = PROJECT / "plugins"
# Debian 13: CPython 3.13, glibc 2.41. pip needs every tag that fits.
_PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(41, 4, -1)] + ["manylinux2014_x86_64"]
_EPOCH = "1735689600"  # 2025-01-01: a fixed time makes the wheel the same bytes every time


def _hash(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def directory() -> Path:
    """Return the directory of the locked packages; its name changes with the lock files."""
    return cache_directory() / "wheels" / _hash(REQUIREMENTS.read_bytes(), ARCHIVE.read_bytes())


def ensure() -> Path:
    """Download the locked packages unless they exist, and return their directory."""
    final = directory()
    if final.is_dir():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=final.parent, prefix=".new-") as temporary:
        made = Path(temporary) / "made"
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(made), "--requirement", str(REQUIREMENTS),
            "--requirement", str(ARCHIVE),
            "--require-hashes", "--no-deps", "--only-binary=:all:", "--implementation=cp", "--python-version=3.13",
            "--abi=cp313", "--abi=abi3", "--abi=none", *(f"--platform={platform}" for platform in _PLATFORMS),
        ]  # fmt: skip
        _pip(command, "The packages for the nodes cannot be fetched", "Check the network and pip's configuration.")
        _publish(made, final)
    return final


def node_wheel() -> Path:
    """Build the distribution ``hapacs-node`` unless it is there, and return its wheel.

    Its version ends in a hash of the content, so that pip replaces it on a node when the code has changed.
    """
    sources = sorted(path for path in (_PLUGINS / "hapacs_node").rglob("*") if _is_source(path))
    named = [_PLUGINS / "pyproject.toml", *sources]
    content = _hash(*(part for path in named for part in (str(path.relative_to(_PLUGINS)).encode(), path.read_bytes())))
    final = cache_directory() / "wheels" / "node" / content
    if not final.is_dir():
        _build_node_wheel(named, content, final)
    return next(final.glob("*.whl"))


def _is_source(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def _build_node_wheel(named: list[Path], content: str, final: Path) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=final.parent, prefix=".new-") as temporary:
        tree, made = Path(temporary) / "tree", Path(temporary) / "made"
        for path in named:
            copy = tree / path.relative_to(_PLUGINS)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        project = tree / "pyproject.toml"
        versioned = re.sub(
            r'^(version = "[^"+]+)"',
            rf'\1+{content}"',
            project.read_text(encoding="utf-8"),
            count=1,
            flags=re.MULTILINE,
        )
        project.write_text(versioned, encoding="utf-8")
        command = [
            sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
            "--wheel-dir", str(made), str(tree),
        ]  # fmt: skip
        _pip(command, "The package hapacs-node cannot be built", "Look at plugins/pyproject.toml.")
        _publish(made, final)


def _publish(made: Path, final: Path) -> None:
    """Give a finished directory its name: an interrupted run leaves no directory of that name."""
    try:
        made.replace(final)
    except OSError:
        # Another run finished first, with the same content.
        if not final.is_dir():
            raise


def _pip(command: list[str], what: str, hint: str) -> None:
    environment = os.environ | {"SOURCE_DATE_EPOCH": _EPOCH, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise HapacsError(f"{what}: {done.stderr.strip()[-1500:]}", hint)
