"""Orthanc's packages are built once, by a recipe; a stand-in for mmdebstrap plays the build."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from hapacs import backport, image
from hapacs.errors import HapacsError

BUILDS = r"""
for word; do case $word in
  --customize-hook=copy-in*) for file in ${word#*copy-in }; do [ "$file" = / ] || test -f "$file" || exit 3; done ;;
  --customize-hook=copy-out*) out=${word##* } ;;
  *"sh /build.sh"*) package=libcivetweb1_1.16+dfsg-6; suffix=$(echo "$word" | grep -o '+hapacs[^ ]*') ;;
  *"sh /nesting.sh"*) package=${word##* }_1; suffix=$(echo "$word" | grep -o '+hapacs[^ ]*') ;;
esac; done
echo "I: automatically chosen mode: root"
echo "step: building it"
mkdir -p "$out/out"
echo "package" >"$out/out/${package}${suffix}_amd64.deb"
echo "$package" >>"$TOLD"
"""
ONCE = "libcivetweb1_1.16+dfsg-6\nhapacs-nesting_1\n"


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own; the file that a build leaves a line in."""
    monkeypatch.setenv("HAPACS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))
    return tmp_path / "told"


def mmdebstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "mmdebstrap").write_text(f"#!/bin/sh\n{script}\n")
    (programs / "mmdebstrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")


def change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Add a line to a recipe, or to a program of ours."""
    built: backport.Source | backport.Program
    (built,) = backport.SOURCES if what == "recipe" else backport.PROGRAMS
    script, own = built.files
    (tmp_path / own.name).write_text(own.read_text() + "\n")
    monkeypatch.setattr(type(built), "files", (script, tmp_path / own.name))


def test_packages_are_built_once_and_progress_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Path
) -> None:
    mmdebstrap(tmp_path, monkeypatch, BUILDS)
    steps: list[str] = []
    added, changed = backport.ensure(steps.append)
    assert steps == ["Debian 13, to build civetweb in", "building it", "Debian 13, to build nesting in", "building it"]
    assert re.fullmatch(r"libcivetweb1_1\.16\+dfsg-6\+hapacs\.[0-9a-f]{8}_amd64\.deb", changed.name)
    assert re.fullmatch(r"hapacs-nesting_1\+hapacs\.[0-9a-f]{8}_amd64\.deb", added.name)
    assert backport.ensure() == [added, changed]
    assert told.read_text() == ONCE
    assert str(changed.parent) == image.package_variables()["hapacs_backport_directory"]


@pytest.mark.parametrize("what", ["recipe", "program"])
def test_what_is_changed_builds_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Path, what: str
) -> None:
    mmdebstrap(tmp_path, monkeypatch, BUILDS)
    first, first_image = backport.ensure(), image.identifier()
    change(tmp_path, monkeypatch, what)
    second = backport.ensure()
    assert not {it.name for it in first} & {it.name for it in second}
    assert first_image != image.identifier()
    assert told.read_text() == ONCE * 2


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'E: no such source' >&2; exit 25", "no such source"),
        # A build that says it is done and left nothing.
        (BUILDS.replace('mkdir -p "$out/out"', "exit 0"), "left no libcivetweb1"),
        (
            BUILDS.replace("mkdir -p", '[ "$package" != hapacs-nesting_1 ] || exit 0; mkdir -p'),
            "left no hapacs-nesting",
        ),
    ],
)
def test_build_that_fails_leaves_nothing_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    mmdebstrap(tmp_path, monkeypatch, script)
    with pytest.raises(HapacsError) as refused:
        backport.ensure()
    assert said in refused.value.message
    assert "policy.orthanc_source: debian" in str(refused.value.hint)
    assert not backport.directory().exists()
    assert [path.name for path in (tmp_path / "cache" / "backport").iterdir() if path.is_dir()] == []


def test_missing_mmdebstrap_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HapacsError, match="mmdebstrap is not installed"):
        backport.ensure()
    assert not told.exists()


@pytest.mark.parametrize("changed", ["rules", "source"])
def test_recipe_fails_where_it_has_nothing_to_change(tmp_path: Path, changed: str) -> None:
    files = {
        "debian/rules": "CMAKE_EXTRA_FLAGS += \\\n        -DCIVETWEB_SOVERSION=1 \\\n        -DX=1\n",
        "debian/control": "Build-Depends:\n debhelper-compat (= 14),\n",
        "src/civetweb.c": '    {"decode_query_string", MG_CONFIG_TYPE_BOOLEAN, "no"},\n',
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    words = ["sh", "-eu", str(backport.SOURCES[0].recipe)]
    subprocess.run(words, cwd=tmp_path, check=True)
    assert "-DCIVETWEB_THREAD_STACK_SIZE=2097152 " in (tmp_path / "debian/rules").read_text()
    assert '"decode_query_string", MG_CONFIG_TYPE_BOOLEAN, "yes"' in (tmp_path / "src/civetweb.c").read_text()
    assert "debhelper-compat (= 13)" in (tmp_path / "debian/control").read_text()
    other = {"rules": "debian/rules", "source": "src/civetweb.c"}[changed]
    (tmp_path / other).write_text("built in another way\n")
    assert subprocess.run(words, cwd=tmp_path, check=False).returncode != 0
