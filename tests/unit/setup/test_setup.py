"""The shell scripts of set-up, each on a machine that consists of a few fake files and programs."""

import hashlib
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[3] / "pulumi" / "setup"
VERSION = "3.259.0"
ENOUGH_KIB = 16 * 2**20


def write_program(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


class Machine:
    """Fake files below `root`, fake programs before the real ones on PATH, and a cache of its own."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.programs = directory / "bin"
        self.cache = directory / "cache"
        self.programs.mkdir()
        self.environment = {
            "PATH": f"{self.programs}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(directory / "home"),
            "HAPACS_CACHE_DIR": str(self.cache),
            "HAPACS_STATE_DIR": str(directory / "state"),
            "HAPACS_ROOT_DIRECTORY": str(self.root),
            "HAPACS_DISK_NEEDED_KIB": "1",
        }

    def file(self, name: str, content: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")

    def program(self, name: str, body: str) -> Path:
        return write_program(self.programs / name, body)

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", str(SETUP / script), *arguments],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A suitable machine."""
    made = Machine(tmp_path)
    made.file("etc/os-release", 'ID=debian\nVERSION_ID="13"\n')
    made.file("proc/meminfo", f"MemTotal: {ENOUGH_KIB} kB\nMemAvailable: {ENOUGH_KIB} kB\n")
    made.file("proc/filesystems", "nodev\toverlay\n\tbtrfs\nnodev\tcgroup2\n")
    (made.root / "dev").mkdir()
    # The one device that every machine of the tests has; only its kind is looked at.
    (made.root / "dev" / "loop-control").symlink_to("/dev/null")
    for name, body in {
        "id": "echo 0",
        "uname": 'case "$1" in -s) echo Linux ;; *) echo x86_64 ;; esac',
        "stat": "echo ext2/ext3",
        "apt-get": "exit 0",
        "unshare": "exit 0",
        "nft": "exit 0",
        "modprobe": "exit 1",
    }.items():
        made.program(name, body)
    return made


def test_a_suitable_machine_passes_without_output(machine: Machine) -> None:
    done = machine.run("preflight.sh")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_all_problems_are_reported_together(machine: Machine) -> None:
    machine.program("id", "echo 1000")
    machine.program("uname", 'case "$1" in -s) echo Linux ;; *) echo aarch64 ;; esac')
    machine.program("stat", "echo overlayfs")
    machine.file("etc/os-release", "ID=fedora\nVERSION_ID=44\n")
    machine.file("proc/meminfo", "MemTotal: 2097152 kB\nMemAvailable: 1048576 kB\n")
    machine.file("proc/filesystems", "\text4\n")
    (machine.root / "dev" / "loop-control").unlink()
    done = machine.run("preflight.sh", HAPACS_DISK_NEEDED_KIB=str(2**50))
    assert done.returncode == 1
    reasons = [line for line in done.stderr.splitlines() if line.startswith("  - ")]
    words = ["not root", "aarch64", "neither Debian", "1024 MiB of memory", "MiB are free at", "loop-control",
             "'overlay'", "'btrfs'", "'cgroup2'", "overlay file system"]  # fmt: skip
    assert [word for word in words if not any(word in reason for reason in reasons)] == []
    assert len(reasons) == len(words)


@pytest.mark.parametrize(
    ("release", "fits"),
    [
        ("ID=debian\nVERSION_ID=11", False),
        ("ID=debian\nVERSION_ID=12", True),
        ("ID=debian", True),  # testing has no number
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="22.04"', False),
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"', True),
    ],
)
def test_releases_without_netavark_are_refused(machine: Machine, release: str, fits: bool) -> None:
    machine.file("etc/os-release", f"{release}\n")
    done = machine.run("preflight.sh")
    assert ("too old" in done.stderr, done.returncode) == ((False, 0) if fits else (True, 1))


@pytest.mark.parametrize(("program", "reason"), [("unshare", "may not mount"), ("nft", "no nftables")])
def test_root_without_the_needed_rights_is_refused(machine: Machine, program: str, reason: str) -> None:
    machine.program(program, "exit 1")
    done = machine.run("preflight.sh")
    assert reason in done.stderr
    assert done.returncode == 1


def test_a_running_lab_needs_no_further_memory(machine: Machine) -> None:
    machine.file("proc/meminfo", f"MemTotal: {ENOUGH_KIB} kB\nMemAvailable: 1048576 kB\n")
    assert machine.run("preflight.sh").returncode == 1
    machine.file("proc/77/comm", "conmon\n")
    assert machine.run("preflight.sh").returncode == 0


def test_a_python_that_does_not_run_is_skipped(machine: Machine) -> None:
    machine.program("python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    fitting = machine.program("python3.12", "exit 0")
    done = machine.run("find-python.sh")
    assert (done.returncode, done.stdout.strip()) == (0, str(fitting))


def test_python_of_a_version_manager_is_found(machine: Machine, tmp_path: Path) -> None:
    for name in ("python3.13", "python3.12", "python3.14", "python3"):
        machine.program(name, "exit 1")
    versions = tmp_path / "pyenv" / "versions"
    for version in ("3.11.7", "3.12.1", "3.13.0"):
        write_program(versions / version / "bin" / "python3", "exit 0")
    done = machine.run("find-python.sh", PYENV_ROOT=str(tmp_path / "pyenv"))
    assert (done.returncode, done.stdout.strip()) == (0, str(versions / "3.13.0" / "bin" / "python3"))


def test_without_python_the_message_says_what_to_install(machine: Machine, tmp_path: Path) -> None:
    for name in ("python3.13", "python3.12", "python3.14", "python3"):
        machine.program(name, "exit 1")
    done = machine.run("find-python.sh", PYENV_ROOT=str(tmp_path / "none"), XDG_DATA_HOME=str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "apt-get install python3" in done.stderr


PIP = """mkdir -p "$4/bin"
cat >"$4/bin/pip" <<'END'
#!/bin/sh
echo "$*" >>"$CALLS"
[ ! -e "$FAIL" ]
END
chmod +x "$4/bin/pip"
"""


@pytest.fixture
def environment(machine: Machine, tmp_path: Path) -> Callable[[], tuple[int, list[str]]]:
    """Return a function that makes the environment of a small tree and returns the exit code and the calls of pip."""
    tree, calls = tmp_path / "tree", tmp_path / "calls"
    for name in ("requirements/dev.txt", "pyproject.toml", "plugins/pyproject.toml"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name, encoding="utf-8")
    shutil.copytree(SETUP, tree / "pulumi" / "setup")
    machine.program("python3.13", f'case "$*" in "-m venv"*) {PIP};; *) echo "Python 3.13" ;; esac')
    machine.program("id", "echo 1000")
    machine.program("apt-get", "echo 'apt-get was called' >&2; exit 1")

    def run() -> tuple[int, list[str]]:
        calls.write_text("")
        done = subprocess.run(
            ["/bin/sh", str(tree / "pulumi" / "setup" / "environment.sh")],
            env=machine.environment | {"CALLS": str(calls), "FAIL": str(tmp_path / "fail")},
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        return done.returncode, calls.read_text().splitlines()

    return run


def test_environment_needs_no_root_and_is_made_once(environment: Callable[[], tuple[int, list[str]]]) -> None:
    code, calls = environment()
    assert code == 0
    assert "--require-hashes" in calls[0]
    assert "--no-build-isolation" in calls[1]
    assert environment() == (0, [])


def test_environment_follows_the_lock(environment: Callable[[], tuple[int, list[str]]], tmp_path: Path) -> None:
    environment()
    (tmp_path / "tree" / "requirements" / "dev.txt").write_text("another lock", encoding="utf-8")
    assert len(environment()[1]) == 2


def test_environment_that_failed_is_made_again(
    environment: Callable[[], tuple[int, list[str]]], tmp_path: Path
) -> None:
    (tmp_path / "fail").touch()
    assert environment()[0] != 0
    (tmp_path / "fail").unlink()
    code, calls = environment()
    assert (code, len(calls)) == (0, 2)


def says_version(version: str) -> str:
    return f"echo {version}"


@pytest.fixture
def publish(tmp_path: Path) -> Callable[[str, bool], str]:
    """Put an archive of the engine where curl finds it, with its checksum or a wrong one."""

    def make(body: str, right: bool) -> str:
        directory = tmp_path / "published"
        program = write_program(directory / "pulumi" / "pulumi", body)
        archive = directory / f"pulumi-v{VERSION}-linux-x64.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(program, "pulumi/pulumi")
        digest = hashlib.sha256(archive.read_bytes() if right else b"").hexdigest()
        (directory / f"pulumi-{VERSION}-checksums.txt").write_text(f"{digest}  {archive.name}\n", encoding="utf-8")
        return directory.as_uri()

    return make


def left_overs(machine: Machine) -> list[str]:
    return [path.name for path in (machine.cache / "pulumi").iterdir() if path.name != VERSION]


@pytest.mark.parametrize("version", [VERSION, "v3.260.1"])
def test_engine_on_path_is_enough(machine: Machine, version: str) -> None:
    machine.program("pulumi", says_version(version))
    assert machine.run("engine.sh", VERSION, HAPACS_PULUMI_ARCHIVES="file:///nowhere").returncode == 0
    assert not machine.cache.exists()


@pytest.mark.parametrize("version", ["3.99.0", "v4.0.0"])
def test_engine_of_another_version_is_replaced(
    machine: Machine, publish: Callable[[str, bool], str], version: str
) -> None:
    machine.program("pulumi", says_version(version))
    done = machine.run("engine.sh", VERSION, HAPACS_PULUMI_ARCHIVES=publish(says_version(f"v{VERSION}"), True))
    assert done.returncode == 0, done.stderr
    assert os.access(machine.cache / "pulumi" / VERSION / "pulumi", os.X_OK)
    assert left_overs(machine) == []


def test_archive_with_a_wrong_checksum_is_not_used(machine: Machine, publish: Callable[[str, bool], str]) -> None:
    machine.program("go", '[ "$1" = list ]')
    done = machine.run("engine.sh", VERSION, HAPACS_PULUMI_ARCHIVES=publish(says_version(f"v{VERSION}"), False))
    assert done.returncode != 0
    assert "does not match its checksum" in done.stderr
    assert not (machine.cache / "pulumi" / VERSION / "pulumi").exists()
    assert left_overs(machine) == []


def test_interrupted_build_leaves_no_partial_engine(machine: Machine, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    # It writes half of the program and would then go on for long.
    machine.program("go", f'case "$1" in build) echo half >pulumi; touch {begun}; exec sleep 300 ;; esac')
    process = subprocess.Popen(
        ["/bin/sh", str(SETUP / "engine.sh"), VERSION],
        env=machine.environment | {"HAPACS_PULUMI_ARCHIVES": "file:///nowhere"},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 30
        while not begun.exists():
            assert time.monotonic() < deadline, "the build did not begin"
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, 15)
        code = process.wait(30)
    assert code == 130
    assert not (machine.cache / "pulumi" / VERSION / "pulumi").exists()
    assert left_overs(machine) == []
