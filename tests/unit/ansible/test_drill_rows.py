"""A tombstone that the index refers to, and bytes without a row; both are gone afterwards."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.ansible.loading import load_script

UUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"


@pytest.fixture
def rows() -> ModuleType:
    return load_script("drill/files/drill_rows.py")


@pytest.fixture
def das(tmp_path: Path) -> Path:
    digest = hashlib.sha256(b"image").hexdigest()
    file = tmp_path / digest[:2] / digest[2:4] / digest
    file.parent.mkdir(parents=True)
    file.write_bytes(b"image")
    file.chmod(0o440)
    return tmp_path


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def test_bytes_without_a_row_are_there_as_an_image_until_the_fault_is_undone(rows: ModuleType, das: Path) -> None:
    fault = rows.Stray({"directory": str(das)})
    plan = fault.plan()
    assert fault.proof(plan) == ""
    fault.apply(plan)
    (stray,) = (path for path in files(das) if path.name == Path(plan["path"]).name)
    assert hashlib.sha256(stray.read_bytes()).hexdigest() == stray.name
    assert stray.parent == das / stray.name[:2] / stray.name[2:4]
    assert stray.stat().st_mode & 0o777 == 0o440
    assert "that no row names" in fault.proof(plan)
    fault.undo(plan)
    fault.undo(plan)
    assert [path.read_bytes() for path in files(das)] == [b"image"]


def test_a_das_without_images_is_refused(rows: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(rows.RefusedError, match="has no image"):
        rows.Stray({"directory": str(tmp_path)}).plan()


def test_a_site_without_images_has_no_tombstone(rows: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "run", lambda *_, **__: "\n")
    with pytest.raises(rows.RefusedError, match="has no image"):
        rows.Tombstone({"database": "pacs"}).plan()


def test_a_statement_goes_to_the_database_of_the_fault_as_its_superuser(
    rows: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[tuple[str, ...], str]] = []

    def run(*words: str, text: str) -> str:
        heard.append((words, text))
        return f"{UUID}\n"

    monkeypatch.setattr(rows, "run", run)
    assert rows.Tombstone({"database": "pacs"}).plan() == {"uuid": UUID}
    ((words, text),) = heard
    assert words[:3] == ("runuser", "--user", "postgres")
    assert words[-1] == "pacs"
    assert "attachedfiles" in text
