"""The private mount namespace in which podman runs on hosts with hybrid cgroups.

crun refuses a host that mounts cgroup v1 controllers. Where that is so, every podman call enters one mount namespace
in which ``/sys/fs/cgroup`` is a plain cgroup2 mount; the host itself stays as it was. On a host with plain cgroup2
nothing of this is made and commands run as they are.

The namespace is made on demand and removed when no container is left in it. Both are guarded by one lock file:
commands hold it shared for as long as they run, making and removing take it alone.

The kernel hides the mount of the file that holds the namespace from mount namespaces made later (``unshare --mount``, a
systemd unit with a private ``/tmp``). So a file that seems not to be mounted proves nothing: as long as a process lives
in the namespace it is entered through that process, and never made again.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hapacs.errors import HapacsError

_CGROUP = Path("/sys/fs/cgroup")


def _mounts(process: str = "self") -> dict[str, str]:
    """Return the file system type of each mount point that a process sees; the topmost mount wins."""
    lines = Path(f"/proc/{process}/mountinfo").read_text(encoding="utf-8").splitlines()
    return {fields[4]: fields[fields.index("-") + 1] for fields in (line.split(" ") for line in lines)}


def plain_cgroup2() -> bool:
    """Tell whether podman can run here without a namespace of its own."""
    return _mounts().get(str(_CGROUP)) == "cgroup2"


class Namespace:
    """A mount namespace kept alive by a file.

    Parameters
    ----------
    directory
        Holds the file ``mnt`` that the namespace is bound to, and the lock. Removed with the namespace.
    """

    def __init__(self, directory: Path = Path("/run/hapacs")) -> None:
        self.directory = directory
        self.file = directory / "mnt"
        self._lock_file = directory.with_name(f"{directory.name}.lock")

    @contextmanager
    def enter(self) -> Iterator[list[str]]:
        """Yield the words to put before a command; the namespace stays while the context is open.

        Commands get absolute paths: entering changes the working directory.
        """
        if plain_cgroup2():
            yield []
            return
        while True:
            with self._lock(fcntl.LOCK_SH):
                if path := self._path():
                    yield ["nsenter", f"--mount={path}"]
                    return
            with self._lock(fcntl.LOCK_EX):
                if self._path() is None:
                    self._dismantle()
                    self._make()

    def remove_if(self, unused: Callable[[], bool]) -> bool:
        """Remove the namespace when no command runs in it and ``unused`` agrees.

        Returns
        -------
        bool
            Whether it is gone.
        """
        if not self.directory.exists():
            return True
        try:
            with self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB):
                if not unused():
                    return False
                self._dismantle()
                self._lock_file.unlink()
        except BlockingIOError:
            return False
        return True

    def command(self, *words: str) -> list[str]:
        """Return a command line that enters an existing namespace, for callers that already hold it."""
        return [*([] if plain_cgroup2() else ["nsenter", f"--mount={self._path() or self.file}"]), *words]

    @contextmanager
    def _lock(self, operation: int) -> Iterator[None]:
        while True:
            descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, operation)
                # The file may have been unlinked while we waited: then the lock we got guards nothing.
                try:
                    current = self._lock_file.stat().st_ino == os.fstat(descriptor).st_ino
                except FileNotFoundError:
                    current = False
                if current:
                    yield
                    return
            finally:
                os.close(descriptor)

    def _path(self) -> Path | None:
        """Return the file by which the namespace is entered; None when it has to be made."""
        return self.file if self._is_ready() else self._inhabitant()

    def _inhabitant(self) -> Path | None:
        """Return the namespace of a process that lives in it: podman keeps one there for each running container."""
        for process in sorted(int(path.name) for path in Path("/proc").glob("[0-9]*")):
            try:
                mounts = _mounts(str(process))
            except OSError:  # it ended while we looked
                continue
            if mounts.get(str(_CGROUP)) == "cgroup2" and str(self.directory) in mounts:
                return Path(f"/proc/{process}/ns/mnt")
        return None

    def _is_ready(self) -> bool:
        if _mounts().get(str(self.file)) != "nsfs":
            return False
        # An interrupted start leaves a namespace whose cgroup mount was not changed yet.
        done = subprocess.run(
            ["nsenter", f"--mount={self.file}", "stat", "-fc", "%T", str(_CGROUP)],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip() == "cgroup2fs"

    def _make(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The file that holds a namespace must be on a private mount, else the kernel would copy it into itself.
        self._run("mount", "--bind", str(self.directory), str(self.directory))
        self._run("mount", "--make-private", str(self.directory))
        self.file.touch()
        script = f"umount -R {_CGROUP} && exec mount -t cgroup2 cgroup2 {_CGROUP}"
        self._run("unshare", f"--mount={self.file}", "--propagation", "private", "sh", "-c", script)

    def _dismantle(self) -> None:
        for path in (self.file, self.directory):
            while str(path) in _mounts():
                self._run("umount", str(path))
        self.file.unlink(missing_ok=True)
        if self.directory.exists():
            self.directory.rmdir()

    @staticmethod
    def _run(*command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise HapacsError(
                f"`{' '.join(command)}` failed: {done.stderr.strip()}",
                "The lab needs a root that may mount: on the machine itself or in a privileged container.",
            )


NAMESPACE = Namespace()
