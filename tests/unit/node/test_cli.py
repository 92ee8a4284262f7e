import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hapacs_node import cli
from hapacs_node.errors import CatalogUnavailableError

_COPY = {"state": "whole", "detail": "", "retention_mode": None, "retained_until": None}
_ROW = {
    "uuid": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "size": 12,
    "node": "pacs1",
    "stored_at": "2026-01-01T00:00:00+00:00",
    "tombstoned_at": None,
    "acknowledged": True,
}


class FakeNode:
    def __init__(self) -> None:
        self.report: dict[str, Any] = {
            "digest": "a" * 64,
            "node": "pacs1",
            "ok": True,
            "catalog": [_ROW],
            "das": _COPY,
            "cas": {**_COPY, "retention_mode": "COMPLIANCE", "retained_until": "2036-01-01T00:00:00Z"},
        }
        self.lookup = self

    def by_digest(self, _: str) -> dict[str, Any]:
        return self.report

    def by_instance(self, name: str) -> list[dict[str, Any]]:
        return [{"instance": name, "uuid": _ROW["uuid"], **self.report}] if self.report["catalog"] else []


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    fake = FakeNode()

    @contextmanager
    def give(_: Path) -> Iterator[FakeNode]:
        yield fake

    monkeypatch.setattr(cli, "_node", give)
    return fake


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments), env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_an_instance_shows_its_copies(node: FakeNode) -> None:
    result = run("instance", "1.2.3")
    assert result.exit_code == 0
    assert all(text in result.stdout for text in ("instance 1.2.3", "acknowledged", "das pacs1", "COMPLIANCE lock"))
    node.report["cas"] = {**_COPY, "state": "damaged", "detail": "not what was stored"}
    node.report["ok"] = False
    result = run("instance", "1.2.3")
    assert result.exit_code == 1
    assert "damaged" in result.stdout


def test_a_removed_attachment_is_called_removed(node: FakeNode) -> None:
    node.report["catalog"] = [{**_ROW, "tombstoned_at": "2026-01-02T00:00:00+00:00"}]
    assert "removed" in run("object", "a" * 64).stdout


def test_json_is_for_machines(node: FakeNode) -> None:
    answer = json.loads(run("object", "a" * 64, "--json").stdout)
    assert answer["ok"]
    assert answer["objects"][0]["digest"] == "a" * 64
    node.report["catalog"] = []
    result = run("object", "a" * 64, "--json")
    assert json.loads(result.stdout) == {"ok": False, "objects": []}
    assert result.exit_code == 1


def test_nothing_found_is_said_and_is_no_success(node: FakeNode) -> None:
    node.report["catalog"] = []
    result = run("instance", "1.2.3")
    assert result.exit_code == 1
    assert "no instance 1.2.3" in result.stderr


def test_a_broken_configuration_is_told_and_exits_2(tmp_path: Path) -> None:
    file = tmp_path / "node.json"
    file.write_text("{}")
    for command in (["check"], ["migrate"], ["instance", "1.2.3"]):
        result = run(*command, "--config", str(file))
        assert result.exit_code == 2
        assert "database: Field required" in result.stderr
        assert "cas: Field required" in result.stderr


def test_a_dead_database_is_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch, node: FakeNode) -> None:
    def fail(_: str) -> None:
        raise CatalogUnavailableError("no database leader")

    monkeypatch.setattr(node, "by_digest", fail)

    @contextmanager
    def give(_: Path) -> Iterator[FakeNode]:
        with cli._errors():
            yield node

    monkeypatch.setattr(cli, "_node", give)
    result = run("object", "a" * 64)
    assert result.exit_code == 1
    assert result.stderr.strip() == "no database leader"
