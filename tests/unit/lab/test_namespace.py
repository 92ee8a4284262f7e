import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hapacs.targets.lab.namespace import Namespace, plain_cgroup2

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="mount namespaces need root"),
    pytest.mark.skipif(plain_cgroup2(), reason="this host has plain cgroup2: nothing is made"),
]


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


def test_commands_see_plain_cgroups_and_the_host_stays_as_it_was(namespace: Namespace) -> None:
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


def test_it_stays_while_somebody_works_in_it_or_still_needs_it(namespace: Namespace) -> None:
    with namespace.enter():
        assert not namespace.remove_if(lambda: True)
    assert not namespace.remove_if(lambda: False)
    assert namespace.file.exists()


def test_a_half_made_namespace_is_made_again(namespace: Namespace) -> None:
    # What is left when the making is killed after the namespace was bound and before its cgroups were changed.
    namespace.directory.mkdir(parents=True)
    subprocess.run(["mount", "--bind", namespace.directory, namespace.directory], check=True)
    subprocess.run(["mount", "--make-private", namespace.directory], check=True)
    namespace.file.touch()
    subprocess.run(["unshare", f"--mount={namespace.file}", "--propagation", "private", "true"], check=True)
    with namespace.enter() as prefix:
        assert filesystem_of_cgroups(prefix) == "cgroup2fs"


def test_many_at_once_make_one(namespace: Namespace) -> None:
    program = (
        "import sys, subprocess; from pathlib import Path; from hapacs.targets.lab.namespace import Namespace\n"
        "with Namespace(Path(sys.argv[1])).enter() as prefix:\n"
        "    subprocess.run([*prefix, 'readlink', '/proc/self/ns/mnt'], check=True)\n"
    )
    command = [sys.executable, "-c", program, str(namespace.directory)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = {process.communicate(timeout=60)[0] for process in running}
    assert len(answers) == 1
    assert all(process.returncode == 0 for process in running)
