"""``hapacs rebuild --from-volumes``: what each node does, what goes from one to the other, and what is printed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from hapacs.cli import chosen
from hapacs.cli.commands import app
from hapacs.errors import HapacsError, UsageError
from hapacs.site import volumes
from hapacs.site.access import Node, NodeError, Site

# Stands for the program on a node: notes what it is asked, and what it gets.
_PROGRAM = """
import json, sys
node, work, log = sys.argv[1:]
text = sys.stdin.buffer.read().decode() if work in ("take", "needles") else ""
open(log, "a").write(f"{node} {work} {text}\\n")
if node == "pacs2" and work == FAILS:
    print("no room", file=sys.stderr)
    sys.exit(1)
if work in ("give", "fids"):
    print(f"{work} of {node}", end="")
else:
    print(json.dumps({"journal": {"volumes": 3, "needles": 9, "changes": 7}, "take": {"taken": 7},
        "needles": {"volumes": 4, "needles": 80, "objects": 2, "others": 1},
        "load": {"objects": 5, "directories": 4}}[work]))
"""


class Nodes:
    """A site whose nodes are programs of this machine."""

    def __init__(self, log: Path, monkeypatch: pytest.MonkeyPatch, fails: str = "") -> None:
        self.name, self.log = "main", log
        self.nodes = [Node(f"pacs{number}", "", "", "hapacs", 22) for number in (1, 2, 3)]
        script = f"FAILS = {fails!r}\n{_PROGRAM}"

        def command(_site: Site, node: Node, work: str) -> list[str]:
            return [sys.executable, "-c", script, node.name, work, str(log)]

        monkeypatch.setattr(volumes, "_command", command)

    def members(self, group: str) -> list[Node]:
        return self.nodes if group == "cas" else []

    def run(self, node: Node, words: tuple[str, ...], text: str, timeout_s: float) -> str:
        del text, timeout_s
        work = words[-1]
        self.log.open("a").write(f"{node.name} {work} \n")
        found = {"journal": {"volumes": 3, "needles": 9, "changes": 7}, "load": {"objects": 5, "directories": 4}}
        return json.dumps(found[work])

    def asked(self) -> list[str]:
        return [line.strip() for line in self.log.read_text().splitlines()]


def found_again(nodes: Nodes) -> dict[str, Any]:
    return volumes.found_again(cast("Site", nodes), lambda _: None)


def test_first_node_puts_together_what_all_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes(tmp_path / "log", monkeypatch)
    report = found_again(nodes)
    asked = nodes.asked()
    assert sorted(asked[:3]) == ["pacs1 journal", "pacs2 journal", "pacs3 journal"]
    assert [line for line in asked[3:] if "give" not in line.split()[1] and "fids" not in line.split()[1]] == [
        "pacs1 take give of pacs2",
        "pacs1 take give of pacs3",
        "pacs1 needles fids of pacs1",
        "pacs2 needles fids of pacs1",
        "pacs3 needles fids of pacs1",
        "pacs1 take give of pacs2",
        "pacs1 take give of pacs3",
        "pacs1 load",
    ]
    assert report["objects"] == 5
    assert report["nodes"]["pacs3"] == {"volumes": 7, "needles": 89, "changes": 7, "objects": 2, "others": 1}


@pytest.mark.parametrize("work", ["give", "needles"])
def test_node_that_fails_ends_it_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str) -> None:
    nodes = Nodes(tmp_path / "log", monkeypatch, fails=work)
    with pytest.raises(NodeError, match="pacs2 by SSH: no room"):
        found_again(nodes)
    assert "pacs1 load" not in nodes.asked()


def test_site_without_archive_nodes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes(tmp_path / "log", monkeypatch)
    nodes.nodes = []
    with pytest.raises(HapacsError, match="no archive"):
        found_again(nodes)


def test_command_says_what_comes_next(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"changes": 7, "objects": 2, "others": 1}
    report = {"nodes": {"pacs1": found}, "objects": 1234, "directories": 4}
    monkeypatch.setattr(chosen, "sites", lambda _name, _site: [SimpleNamespace(name="main")])
    monkeypatch.setattr(volumes, "found_again", lambda _site, _now: report)
    result = CliRunner().invoke(app, ["rebuild", "lab", "--from-volumes"])
    assert result.exit_code == 0
    assert "1,234 objects" in result.stdout
    assert "hapacs up lab" in result.stdout
    printed = CliRunner().invoke(app, ["rebuild", "lab", "--from-volumes", "--json"])
    assert json.loads(printed.stdout)["objects"] == 1234


def test_one_source_is_asked_for() -> None:
    result = CliRunner().invoke(app, ["rebuild", "lab", "--from-volumes", "--from-archive"])
    assert isinstance(result.exception, UsageError)
