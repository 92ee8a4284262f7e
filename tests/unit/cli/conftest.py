import shutil
from pathlib import Path

import pytest

from hapacs.deployment import PROJECT, Deployment


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """A deployment with the lab's settings, all of it below a temporary directory."""
    monkeypatch.setenv("HAPACS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("HAPACS_AGE_KEY_FILE", raising=False)
    directory = tmp_path / "inventories" / "lab"
    directory.mkdir(parents=True)
    shutil.copy(PROJECT / "inventories" / "lab" / "settings.yaml", directory)
    return Deployment("lab", directory, tmp_path / "state" / "lab", tmp_path / "cache")
