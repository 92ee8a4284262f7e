import shutil
import zipfile
from pathlib import Path

import pytest

from hapacs import wheelhouse
from hapacs.deployment import PROJECT
from hapacs.errors import HapacsError


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HAPACS_CACHE_DIR", str(tmp_path / "cache"))
    copy = tmp_path / "plugins"
    package = copy / "hapacs_node"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""A package."""\n')
    shutil.copy(PROJECT / "plugins" / "pyproject.toml", copy)
    monkeypatch.setattr(wheelhouse, "_PLUGINS", copy)
    return copy


@pytest.mark.usefixtures("plugins")
def test_the_same_content_gives_the_same_bytes() -> None:
    first = wheelhouse.node_wheel()
    content = first.read_bytes()
    shutil.rmtree(first.parent)
    assert wheelhouse.node_wheel() == first
    assert first.read_bytes() == content


def test_changed_content_is_another_version(plugins: Path) -> None:
    first = wheelhouse.node_wheel()
    (plugins / "hapacs_node" / "more.py").write_text('"""More."""\n')
    second = wheelhouse.node_wheel()
    assert first.name != second.name
    assert "hapacs_node/more.py" in zipfile.ZipFile(second).namelist()


def test_compiled_files_do_not_count(plugins: Path) -> None:
    first = wheelhouse.node_wheel()
    (plugins / "hapacs_node" / "__pycache__").mkdir()
    (plugins / "hapacs_node" / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert wheelhouse.node_wheel() == first


@pytest.mark.usefixtures("plugins")
def test_a_failed_download_leaves_nothing_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = tmp_path / "node.txt"
    locked.write_text("no-such-package-of-ours==1 --hash=sha256:" + "0" * 64 + "\n")
    monkeypatch.setattr(wheelhouse, "REQUIREMENTS", locked)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(HapacsError, match="cannot be fetched"):
        wheelhouse.ensure()
    assert list((tmp_path / "cache" / "wheels").iterdir()) == []
