"""Orthanc's packages are built once, by a recipe; a stand-in for mmdebstrap plays the build."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hapacs import backport, image
from hapacs.errors import HapacsError

BUILDS = r"""
for word; do case $word in
  --customize-hook=copy-in*) for file in ${word#*copy-in }; do [ "$file" = / ] || test -f "$file" || exit 3; done ;;
  --customize-hook=copy-out*) out=${word##* } ;;
  *"sh /build.sh civetweb"*) package=libcivetweb1_1.16+dfsg-6; suffix=$(echo "$word" | grep -o '+hapacs[^ ]*') ;;
  *"sh /build.sh orthanc"*) package=orthanc_1.13.0+dfsg-1; suffix=$(echo "$word" | grep -o '+hapacs[^ ]*') ;;
  *"sh /nesting.sh"*) package=${word##* }_1; suffix=$(echo "$word" | grep -o '+hapacs[^ ]*') ;;
esac; done
echo "I: automatically chosen mode: root"
echo "step: building it"
for percent in '  2' '  7' ' 12' ' 19' ' 20' 100; do echo "[$percent%] Building CXX object"; done
mkdir -p "$out/out"
echo "package" >"$out/out/${package}${suffix}_amd64.deb"
echo "$package" >>"$TOLD"
"""
ONCE = ["libcivetweb1_1.16+dfsg-6", "orthanc_1.13.0+dfsg-1", "hapacs-nesting_1"]


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


def change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Add a line to a recipe, or to a program of ours."""
    recipes = tmp_path / "recipes"
    shutil.copytree(Path(backport.__file__).parent, recipes)
    with (recipes / name).open("a") as file:
        file.write("\n")
    monkeypatch.setattr(backport, "_HERE", recipes)


def test_packages_are_built_once_and_progress_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Path
) -> None:
    mmdebstrap(tmp_path, monkeypatch, BUILDS)
    steps: list[str] = []
    added, changed, server = backport.ensure(steps.append)
    building = ["building it", "building it: 10 %", "building it: 20 %", "building it: 100 %"]
    names = ["civetweb", "orthanc", "nesting"]
    assert steps == [step for name in names for step in (f"Debian 13, to build {name} in", *building)]
    assert re.fullmatch(r"libcivetweb1_1\.16\+dfsg-6\+hapacs\.[0-9a-f]{8}_amd64\.deb", changed.name)
    assert re.fullmatch(r"orthanc_1\.13\.0\+dfsg-1\+hapacs\.[0-9a-f]{8}_amd64\.deb", server.name)
    assert re.fullmatch(r"hapacs-nesting_1\+hapacs\.[0-9a-f]{8}_amd64\.deb", added.name)
    assert backport.ensure() == [added, changed, server]
    assert told.read_text().split() == ONCE
    assert str(changed.parent) == image.package_variables()["hapacs_backport_directory"]


@pytest.mark.parametrize(
    ("changed", "built"),
    [("civetweb.sh", ONCE[:1]), ("orthanc.sh", ONCE[1:2]), ("nesting.c", ONCE[2:]), ("build.sh", ONCE[:2])],
)
def test_what_is_changed_is_built_again_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Path, changed: str, built: list[str]
) -> None:
    mmdebstrap(tmp_path, monkeypatch, BUILDS)
    first, first_image = backport.ensure(), image.identifier()
    change(tmp_path, monkeypatch, changed)
    second = backport.ensure()
    assert len(second) == len(first)
    assert len({it.name for it in second} - {it.name for it in first}) == len(built)
    assert first_image != image.identifier()
    assert told.read_text().split() == ONCE + built


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("script", "said", "kept"),
    [
        ("echo 'E: no such source' >&2; exit 25", "no such source", set()),
        # A build that says it is done and left nothing.
        (BUILDS.replace('mkdir -p "$out/out"', "exit 0"), "left no libcivetweb1", set()),
        (
            BUILDS.replace("mkdir -p", '[ "$package" != hapacs-nesting_1 ] || exit 0; mkdir -p'),
            "left no hapacs-nesting",
            {"civetweb", "orthanc"},
        ),
    ],
)
def test_build_that_fails_leaves_nothing_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str, kept: set[str]
) -> None:
    mmdebstrap(tmp_path, monkeypatch, script)
    with pytest.raises(HapacsError) as refused:
        backport.ensure()
    assert said in refused.value.message
    assert "policy.orthanc_source: debian" in str(refused.value.hint)
    assert not backport.directory().exists()
    # What was built before it is kept: the next attempt goes on from there.
    left = {path.name.split("-")[0] for path in (tmp_path / "cache" / "backport").iterdir() if path.is_dir()}
    assert left == kept


def test_missing_mmdebstrap_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HapacsError, match="mmdebstrap is not installed"):
        backport.ensure()
    assert not told.exists()


CIVETWEB = {
    "debian/rules": "CMAKE_EXTRA_FLAGS += \\\n        -DCIVETWEB_SOVERSION=1 \\\n        -DX=1\n",
    "debian/control": "Build-Depends:\n debhelper-compat (= 14),\n",
    "src/civetweb.c": '    {"decode_query_string", MG_CONFIG_TYPE_BOOLEAN, "no"},\n',
}
ORTHANC = {
    "debian/rules": (
        "%:\n\tdh $@\n\noverride_dh_auto_configure:\n\tyui-compressor a.js\n\noverride_dh_auto_install:\n\tmv a b\n"
    ),
    "debian/control": (
        "Source: orthanc\nBuild-Depends: cmake,\n               doxygen,\n               libboost-all-dev,\n"
        "               zlib1g-dev,\n               yui-compressor\nHomepage: x\n\n"
        "Package: orthanc\nArchitecture: any\n\nPackage: orthanc-doc\nArchitecture: all\n\n"
        "Package: liborthancframework1.13.0\nArchitecture: any\n"
    ),
    "debian/orthanc.install": (
        "usr/bin/OrthancRecoverCompressedFile\nusr/lib/orthanc/libServeFolders.so.*\nusr/sbin/Orthanc\n"
    ),
    "OrthancServer/Sources/ServerContext.cpp": "f(new StorageAreaDataSource(area_, IsStoreMD5ForAttachments()));\n",
}


def recipe(tmp_path: Path, name: str, files: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run a recipe in a source of the test's own."""
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    (source,) = (it for it in backport.SOURCES if it.name == name)
    return subprocess.run(["sh", "-eu", str(source.recipe)], cwd=tmp_path, check=False)


def test_web_server_has_larger_stacks_and_decodes_queries(tmp_path: Path) -> None:
    assert recipe(tmp_path, "civetweb", CIVETWEB).returncode == 0
    assert "-DCIVETWEB_THREAD_STACK_SIZE=2097152 " in (tmp_path / "debian/rules").read_text()
    assert '"decode_query_string", MG_CONFIG_TYPE_BOOLEAN, "yes"' in (tmp_path / "src/civetweb.c").read_text()
    assert "debhelper-compat (= 13)" in (tmp_path / "debian/control").read_text()


def test_server_alone_is_built_and_compares_no_md5(tmp_path: Path) -> None:
    assert recipe(tmp_path, "orthanc", ORTHANC).returncode == 0
    control = (tmp_path / "debian/control").read_text()
    assert re.findall(r"^Package: (.*)$", control, re.MULTILINE) == ["orthanc"]
    assert re.search(r"cmake,\n +python3, .*libboost-thread-dev,\n +zlib1g-dev\nHomepage", control)
    assert (tmp_path / "debian/orthanc.install").read_text() == "usr/sbin/Orthanc\n"
    rules = (tmp_path / "debian/rules").read_text()
    assert "dh $@" in rules
    assert "yui-compressor" not in rules
    assert rules.count("override_dh_auto_configure:") == 1
    changed = (tmp_path / "OrthancServer/Sources/ServerContext.cpp").read_text()
    assert changed == "f(new StorageAreaDataSource(area_, false));\n"


@pytest.mark.parametrize(
    ("name", "files", "changed"),
    [
        ("civetweb", CIVETWEB, "debian/rules"),
        ("civetweb", CIVETWEB, "src/civetweb.c"),
        ("orthanc", ORTHANC, "debian/control"),
        ("orthanc", ORTHANC, "OrthancServer/Sources/ServerContext.cpp"),
    ],
)
def test_recipe_fails_where_it_has_nothing_to_change(
    tmp_path: Path, name: str, files: dict[str, str], changed: str
) -> None:
    assert recipe(tmp_path, name, files | {changed: "built in another way\n"}).returncode != 0
