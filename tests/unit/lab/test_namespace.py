import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hapacs.targets.lab.namespace import Namespace, plain_cgroup2

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="mount namespaces need root"),
    pytest.mark.skipif(plain_cgroup2(), reason="this host has plain cgroup2: nothing is made"),
]

# Enters the namespace of a directory and prints which one it is.
ENTER = """
import sys, subprocess
from pathlib import Path
from hapacs.targets.lab.namespace import Namespace
with Namespace(Path(sys.argv[1])).enter() as prefix:
    subprocess.run([*prefix, "readlink", "/proc/self/ns/mnt"], check=True)
"""


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    namespace = Namespace(Path(f"/run/hapacs-test-{os.getpid()}"))
    yield namespace
    namespace.remove_if(lambda: True)


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


def filesystem_of_cgroups(prefix: list[str]) -> str:
    command = [*prefix, "stat", "-fc", "%T", "/sys/fs/cgroup"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_commands_see_plain_cgroups_and_the_host_is_unchanged(namespace: Namespace) -> None:
    before = filesystem_of_cgroups([])
    with namespace.enter() as prefix:
        assert filesystem_of_cgroups(prefix) == "cgroup2fs"
    assert filesystem_of_cgroups([]) == before != "cgroup2fs"


def test_entering_twice_and_within_itself_uses_the_same_namespace(namespace: Namespace) -> None:
    with namespace.enter() as first, namespace.enter() as second:
        seen = [
            subprocess.run([*prefix, "readlink", "/proc/self/ns/mnt"], check=True, capture_output=True).stdout
            for prefix in (first, second)
        ]
    assert seen[0] == seen[1]


def test_removal_leaves_nothing(namespace: Namespace) -> None:
    before = mounts()
    with namespace.enter():
        assert mounts() != before
    assert namespace.remove_if(lambda: True)
    assert mounts() == before
    assert not namespace.directory.exists()
    assert not list(namespace.directory.parent.glob(f"{namespace.directory.name}*"))


def test_namespace_in_use_is_not_removed(namespace: Namespace) -> None:
    with namespace.enter():
        assert not namespace.remove_if(lambda: True)
    assert not namespace.remove_if(lambda: False)
    assert namespace.file.exists()


def test_incomplete_namespace_is_made_again(namespace: Namespace) -> None:
    # What is left when the making is killed after the namespace was bound and before its cgroups were changed.
    namespace.directory.mkdir(parents=True)
    subprocess.run(["mount", "--bind", namespace.directory, namespace.directory], check=True)
    subprocess.run(["mount", "--make-private", namespace.directory], check=True)
    namespace.file.touch()
    subprocess.run(["unshare", f"--mount={namespace.file}", "--propagation", "private", "true"], check=True)
    with namespace.enter() as prefix:
        assert filesystem_of_cgroups(prefix) == "cgroup2fs"


@pytest.fixture
def inhabitant(namespace: Namespace) -> Iterator[str]:
    """Return the namespace that a long-running process lives in, as podman's monitor of a container does."""
    with namespace.enter() as prefix:
        process = subprocess.Popen([*prefix, "sleep", "120"])
    try:
        deadline = time.monotonic() + 10
        while (link := str(Path(f"/proc/{process.pid}/ns/mnt").readlink())) == str(
            Path("/proc/self/ns/mnt").readlink()
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield link
    finally:
        process.kill()
        process.wait()


def test_inhabited_namespace_survives_a_command_from_another_mount_namespace(
    namespace: Namespace, inhabitant: str
) -> None:
    before = mounts()
    # The kernel hides the file's mount from a new mount namespace, so there it looks as if it was stale.
    command = ["unshare", "--mount", sys.executable, "-c", ENTER, str(namespace.directory)]
    seen = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
    assert seen == inhabitant
    assert mounts() == before
    assert str(namespace.file) in before


def test_inhabited_namespace_is_found_again_after_its_file_was_lost(namespace: Namespace, inhabitant: str) -> None:
    subprocess.run(["umount", namespace.file], check=True)
    with namespace.enter() as prefix:
        seen = subprocess.run([*prefix, "readlink", "/proc/self/ns/mnt"], check=True, capture_output=True, text=True)
    assert seen.stdout.strip() == inhabitant


def test_concurrent_commands_make_one_namespace(namespace: Namespace) -> None:
    command = [sys.executable, "-c", ENTER, str(namespace.directory)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = {process.communicate(timeout=60)[0] for process in running}
    assert len(answers) == 1
    assert all(process.returncode == 0 for process in running)
