import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from hapacs_node import cli, journal
from hapacs_node.cli import das as das_commands
from hapacs_node.cli import whole_node
from hapacs_node.cli.common import errors
from hapacs_node.errors import CatalogUnavailableError
from hapacs_node.settings import Das as DasSettings
from hapacs_node.storage.eviction import Ages, Outcome
from hapacs_node.storage.shelves import COUNT

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
        self.node = "pacs1"
        self.events: list[dict[str, str]] = []

    def find(self, field: str, value: str) -> list[dict[str, str]]:
        assert (field, value) == ("sop", "1.2.3")
        return self.events

    def by_digest(self, _: str) -> dict[str, Any]:
        return self.report | {"ok": self.report["ok"] and bool(self.report["catalog"])}

    def by_instance(self, name: str) -> list[dict[str, Any]]:
        return [{"instance": name, "uuid": _ROW["uuid"], **self.report}] if self.report["catalog"] else []


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    fake = FakeNode()

    @contextmanager
    def give(_: Path) -> Iterator[FakeNode]:
        yield fake

    monkeypatch.setattr(whole_node, "opened", give)
    monkeypatch.setattr(journal, "find", fake.find)
    return fake


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments), env={"COLUMNS": "200", "NO_COLOR": "1"})


class FakeDas:
    """A node whose DAS has 100 of 1000 bytes free and should have 200."""

    def __init__(self, root: Path) -> None:
        das = DasSettings.model_validate(
            {"root": root, "minimum_free_bytes": 50, "evict": {"below_free_bytes": 150, "until_free_bytes": 200}}
        )
        self.settings = SimpleNamespace(das=das)
        self.das = SimpleNamespace(free_bytes=lambda: 100)
        shelves = SimpleNamespace(size_bytes=lambda: 1000)
        self.runs: list[tuple[int, bool]] = []
        self.freed: int | None = 100
        self.eviction: Any = SimpleNamespace(
            limits=das.evict, shelves=shelves, needed_bytes=lambda: 100, ages=self.ages, run=self.run
        )

    def ages(self) -> Ages:
        return Ages({1000: 300, 2000: 100}, 4, 500, COUNT)

    def run(self, wanted: int, *, dry_run: bool) -> Outcome | None:
        self.runs.append((wanted, dry_run))
        return None if self.freed is None else Outcome(wanted, self.freed, 2, 1, 0, 0.5)


@pytest.fixture
def das_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeDas:
    fake = FakeDas(tmp_path)

    @contextmanager
    def give(_: Path) -> Iterator[FakeDas]:
        with errors():
            yield fake

    monkeypatch.setattr(das_commands, "opened", give)
    return fake


def test_das_status_shows_watermarks_and_evictable_bytes(das_node: FakeDas) -> None:
    report = json.loads(run("das", "status", "--json").output)
    assert report.pop("oldest_use_s") > 0
    assert report == {
        "ok": True, "size_bytes": 1000, "free_bytes": 100, "evict_below_free_bytes": 150, "evict_until_free_bytes": 200,
        "minimum_free_bytes": 50, "minimum_age_s": 86400, "needed_bytes": 100, "may_go_bytes": 400, "may_go_files": 4,
        "too_young_bytes": 500, "looked_at_fraction": 1.0,
    }  # fmt: skip
    shown = run("das", "status")
    assert shown.exit_code == 0
    assert "least recently used" in shown.output
    das_node.eviction.needed_bytes = lambda: 500
    assert run("das", "status").exit_code == 1


def test_das_evict_frees_as_the_watermarks_or_the_option_demand(das_node: FakeDas) -> None:
    result = run("das", "evict")
    assert result.exit_code == 0
    assert "2 objects and 1 derived attachments evicted, 100 of 100 bytes" in result.output
    assert "would be evicted" in run("das", "evict", "--dry-run").output
    assert run("das", "evict", "--free", "700").exit_code == 1
    assert "nothing to do" in run("das", "evict", "--free", "70").output
    assert das_node.runs == [(100, False), (100, True), (600, False)]


def test_das_evict_reports_a_running_eviction_and_a_missing_configuration(das_node: FakeDas) -> None:
    das_node.freed = None
    result = run("das", "evict")
    assert (result.exit_code, "another process" in result.output) == (1, True)
    das_node.eviction = None
    result = run("das", "status")
    assert (result.exit_code, "das.evict is not configured" in result.output) == (2, True)


def test_an_instance_shows_its_copies(node: FakeNode) -> None:
    result = run("instance", "1.2.3")
    assert result.exit_code == 0
    assert all(text in result.stdout for text in ("instance 1.2.3", "acknowledged", "das pacs1", "COMPLIANCE lock"))
    node.report["cas"] = {**_COPY, "state": "damaged", "detail": "not what was stored"}
    node.report["ok"] = False
    result = run("instance", "1.2.3")
    assert result.exit_code == 1
    assert "damaged" in result.stdout


def test_an_instance_shows_its_events(node: FakeNode) -> None:
    node.events = [{"at": "2026-11-28T09:30:00Z", "unit": "orthanc-store", "event": "stored", "caller": "CT[1]"}]
    shown = run("instance", "1.2.3").stdout
    assert all(text in shown for text in ("2026-11-28T09:30:00Z", "orthanc-store", "stored", "caller=CT[1]"))
    assert json.loads(run("instance", "1.2.3", "--json").stdout)["events"] == node.events


def test_a_removed_attachment_is_shown_as_removed(node: FakeNode) -> None:
    node.report["catalog"] = [{**_ROW, "tombstoned_at": "2026-01-02T00:00:00+00:00"}]
    assert "removed" in run("object", "a" * 64).stdout


def test_json_output_is_one_document(node: FakeNode) -> None:
    answer = json.loads(run("object", "a" * 64, "--json").stdout)
    assert answer["ok"]
    assert answer["objects"][0]["digest"] == "a" * 64
    node.report["catalog"] = []
    result = run("object", "a" * 64, "--json")
    assert json.loads(result.stdout) == {"ok": False, "node": "pacs1", "objects": []}
    assert result.exit_code == 1


def test_an_unknown_name_is_reported_with_exit_code_1(node: FakeNode) -> None:
    node.report["catalog"] = []
    result = run("instance", "1.2.3")
    assert result.exit_code == 1
    assert "has an instance 1.2.3" in result.stderr


def test_an_invalid_configuration_is_reported_with_exit_code_2(tmp_path: Path) -> None:
    file = tmp_path / "node.json"
    file.write_text("{}")
    for command in (["check"], ["migrate"], ["instance", "1.2.3"]):
        result = run(*command, "--config", str(file))
        assert result.exit_code == 2
        assert "database: Field required" in result.stderr
        assert "cas: Field required" in result.stderr


def test_a_dead_database_is_reported_without_a_traceback(monkeypatch: pytest.MonkeyPatch, node: FakeNode) -> None:
    def fail(_: str) -> None:
        raise CatalogUnavailableError("no database leader")

    monkeypatch.setattr(node, "by_digest", fail)

    @contextmanager
    def give(_: Path) -> Iterator[FakeNode]:
        with errors():
            yield node

    monkeypatch.setattr(whole_node, "opened", give)
    result = run("object", "a" * 64)
    assert result.exit_code == 1
    assert result.stderr.strip() == "no database leader"


@pytest.mark.parametrize("state", ["confirmed", "dropped"])
def test_tasks_at_their_end_are_listed_of_one_study_only(state: str) -> None:
    done = run("outbox", "list", "--state", state)
    assert done.exit_code == 2
    assert "give --study" in done.stderr


def test_each_command_has_a_module_that_describes_it() -> None:
    program: Any = typer.main.get_command(cli.app)
    context = typer.Context(program)
    found = {name: program.get_command(context, name) for name in program.list_commands(context)}
    assert {name: command.name for name, command in found.items()} == {name: name for name in found}
    assert all(command.help for command in found.values())
    assert run("nonsense").exit_code == 2


@pytest.mark.parametrize("service", ["probe", "commitment", "route"])
def test_a_service_loads_no_other_commands(service: str) -> None:
    script = (
        "import sys; from hapacs_node.cli import main; sys.argv[1:] = [sys.argv[1], '--help']\n"
        "try: main()\nfinally: print('loaded', *sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script, service], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert f"hapacs_node.cli.{service}" in loaded
    assert {one for one in loaded if one.startswith("hapacs_node.cli.")} <= {
        f"hapacs_node.cli.{name}" for name in (service, "common")
    }
