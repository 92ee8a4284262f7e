"""Packages for Orthanc that the controller builds: Debian's with our changes, and one of ours. Nodes only install them.

They are built in a Debian 13 that is made for this and removed again (mmdebstrap). The cache keeps each of them under a
hash of all that is ours in it: recipe, program, script (`docs/adr/0044-the-engine-is-built-from-debians-sources.md`).
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hapacs import debian
from hapacs.deployment import cache_directory
from hapacs.errors import HapacsError

if TYPE_CHECKING:
    from hapacs.settings import Settings

_HERE = Path(__file__).parent
_STEP = "step: "
_KEPT_LINES = 30
# How far CMake is, which takes minutes for the server.
_PERCENT = re.compile(r"\[ *(\d{1,3})%\]")
_TENTH = 10
_TOOLS = "ca-certificates,debhelper,dpkg-dev"
_REMEDY = (
    "The controller needs a Debian mirror with sources of Debian 13 or testing: check its network and apt sources.\n"
    "Or copy {directory} from a controller that has it, or choose `policy.orthanc_source: debian`."
)


@dataclass(frozen=True)
class Source:
    """A source package of Debian, and what is built of it.

    Attributes
    ----------
    name
        The source package. ``NAME.sh`` beside this file is the change.
    upstream
        Version without Debian's revision: the newest revision that the mirror has is taken.
    packages
        Binary packages that nodes install.
    """

    name: str
    upstream: str
    packages: tuple[str, ...]

    @property
    def recipe(self) -> Path:
        """The script that changes the unpacked source."""
        return _HERE / f"{self.name}.sh"

    @property
    def files(self) -> tuple[Path, ...]:
        """What the build needs; the first is the script that builds."""
        return _HERE / "build.sh", self.recipe

    def words(self, suffix: str) -> list[str]:
        """Return the arguments of the script."""
        return [self.name, self.upstream, suffix, *self.packages]


@dataclass(frozen=True)
class Program:
    """A program of ours that is compiled for the nodes.

    Attributes
    ----------
    name
        ``NAME.c`` beside this file; ``NAME.sh`` compiles and packs it.
    packages
        The one binary package.
    """

    name: str
    packages: tuple[str]

    @property
    def files(self) -> tuple[Path, ...]:
        """What the build needs; the first is the script that builds."""
        return _HERE / f"{self.name}.sh", _HERE / f"{self.name}.c"

    def words(self, suffix: str) -> list[str]:
        """Return the arguments of the script."""
        return [suffix, *self.packages]


SOURCES = (Source("civetweb", "1.16+dfsg", ("libcivetweb1",)), Source("orthanc", "1.13.0+dfsg", ("orthanc",)))
PROGRAMS = (Program("nesting", ("hapacs-nesting",)),)


def identity(built: Source | Program) -> str:
    """Return a hash of all that is ours in one of the packages."""
    parts = [debian.SUITE, str(built), *(file.read_text(encoding="utf-8") for file in built.files)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def identifier() -> str:
    """Return a hash of all that is ours in the packages."""
    return hashlib.sha256(" ".join(identity(built) for built in (*SOURCES, *PROGRAMS)).encode()).hexdigest()[:16]


def directory() -> Path:
    """Return the directory of the packages; its name changes with what goes into them."""
    return cache_directory() / "backport" / identifier()


def wanted(settings: Settings) -> bool:
    """Return whether a site of a deployment runs these packages."""
    return any(site.policy.orthanc == "backport" for site in settings.sites.values())


def packages() -> list[Path]:
    """Return the files of the packages; none before they were built."""
    return sorted(directory().glob("*.deb"))


def ensure(on_step: Callable[[str], None] = lambda _: None) -> list[Path]:
    """Build the packages unless they exist, and return their files.

    Parameters
    ----------
    on_step
        Called with the name of each step.

    Raises
    ------
    HapacsError
        When they can't be built.
    """
    final = directory()
    final.parent.mkdir(parents=True, exist_ok=True)
    with (final.parent / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not final.is_dir():
            _publish([_built(it, on_step) for it in (*SOURCES, *PROGRAMS)], final)
    return packages()


def _built(built: Source | Program, on_step: Callable[[str], None]) -> Path:
    """Return the directory of what one of them is made into, which is kept as long as nothing of it changes."""
    final = cache_directory() / "backport" / f"{built.name}-{identity(built)}"
    if not final.is_dir():
        # mmdebstrap drops root for the download: the directory must let others through.
        with tempfile.TemporaryDirectory(prefix="hapacs-backport-") as temporary:
            made = Path(temporary)
            made.chmod(0o755)
            _build(built, made, on_step)
            _publish([made / "out"], final)
    return final


def _build(built: Source | Program, made: Path, on_step: Callable[[str], None]) -> None:
    if shutil.which("mmdebstrap") is None:
        raise HapacsError(
            "mmdebstrap is not installed: Orthanc's packages cannot be built.", "Run `make setup`, which installs it."
        )
    words = " ".join(built.words(f"+hapacs.{identity(built)[:8]}"))
    command = [
        "mmdebstrap", "--variant=minbase", f"--include={_TOOLS}", "--format=null", "--dpkgopt=force-unsafe-io",
        f"--customize-hook=copy-in {' '.join(map(str, built.files))} /",
        f"--customize-hook=chroot \"$1\" sh /{built.files[0].name} {words}",
        f"--customize-hook=copy-out /out {made}",
        debian.SUITE, "-", *debian.mirror(),
    ]  # fmt: skip
    on_step(f"Debian 13, to build {built.name} in")
    log = directory().parent / f"{built.name}.log"
    said = _run(command, log, on_step)
    if said is None and (missing := [it for it in built.packages if not [*(made / "out").glob(f"{it}_*.deb")]]):
        said = f"it left no {', '.join(missing)}"
    if said is not None:
        raise HapacsError(
            f"{built.name} cannot be built: {said.strip()[-1500:]}",
            f"{_REMEDY.format(directory=directory())}\nThe whole log: {log}",
        )


def _run(command: Sequence[str], log: Path, on_step: Callable[[str], None]) -> str | None:
    """Run a command, keep what it printed, and return its last lines when it failed."""
    last: deque[str] = deque(maxlen=_KEPT_LINES)
    step, tenths = "", 0
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace",
        ) as process,
    ):  # fmt: skip
        for line in process.stdout or ():
            file.write(line)
            last.append(line)
            if line.startswith(_STEP):
                step, tenths = line.removeprefix(_STEP).strip(), 0
                on_step(step)
            elif (percent := _PERCENT.match(line)) and int(percent[1]) // _TENTH > tenths:
                tenths = int(percent[1]) // _TENTH
                on_step(f"{step}: {tenths * _TENTH} %")
    return "".join(last) if process.returncode else None


def _publish(made: Sequence[Path], final: Path) -> None:
    """Put the files of finished directories together under a name, beside which no half one is seen."""
    with tempfile.TemporaryDirectory(dir=final.parent, prefix=".new-") as temporary:
        copied = Path(temporary) / "made"
        for one in made:
            shutil.copytree(one, copied, dirs_exist_ok=True)
        copied.replace(final)
