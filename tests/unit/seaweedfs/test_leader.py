"""The program that keeps the lead where it should be, with a `weed` that answers as the real one does."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "ansible/roles/seaweedfs/files/seaweedfs-leader"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("seaweedfs_leader", str(PROGRAM))
    specification = importlib.util.spec_from_loader(loader.name, loader)
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    loader.exec_module(module)
    monkeypatch.setattr(module, "WEED", str(tmp_path / "weed"))
    monkeypatch.setattr(module, "CONFIGURATION", str(tmp_path))
    return module


@pytest.mark.parametrize(
    ("said", "leads"),
    [
        ("echo Leadership successfully transferred to 10.0.0.1:9333", True),
        # Elected between the look and the request.
        ("echo error: rpc error: leadership transfer failed: cannot transfer leadership to itself >&2; exit 1", True),
        ("echo error: leadership transfer failed: no such peer >&2; exit 1", False),
    ],
)
def test_master_leads_after_transfer_or_when_already_leading(
    program: ModuleType, tmp_path: Path, said: str, leads: bool
) -> None:
    weed = tmp_path / "weed"
    weed.write_text(f"#!/bin/sh\ncat >{tmp_path}/asked\n{said}\n")
    weed.chmod(0o755)
    assert program.take_over("10.0.0.1") is leads
    asked = (tmp_path / "asked").read_text()
    assert asked == "cluster.raft.transferLeader -id 10.0.0.1:9333 -address 10.0.0.1:19333\n"
