"""The check of Orthanc's HTTP on the nodes themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from hapacs.site.access import Node, Site
from hapacs.verify import unauthorized
from hapacs.verify.report import CheckFailedError


class FakeSite:
    """Two nodes; on some of them ordinary users reach a port."""

    def __init__(self, *reached: tuple[str, int]) -> None:
        self.reached = set(reached)
        self.asked: list[dict[str, Any]] = []

    def members(self, _group: str) -> list[Node]:
        return [Node(name, "", "", "hapacs", 22) for name in ("pacs1", "pacs2")]

    def run_script(self, node: Node, _script: Path, targets: list[dict[str, Any]], *, root: bool) -> Any:
        assert not root
        self.asked += targets
        return [
            {**target, "problem": "can be reached" if (node.name, target["port"]) in self.reached else ""}
            for target in targets
        ]


def test_ports_that_no_user_of_a_node_reaches_are_shut() -> None:
    site = FakeSite()
    assert unauthorized.check_local_ports(cast(Site, site)) == "2 ports of 2 nodes are shut for users of the node"
    assert {(target["address"], target["port"]) for target in site.asked} == {
        ("127.0.0.1", 18042), ("127.0.0.1", 18043), ("::1", 18042), ("::1", 18043),
    }  # fmt: skip


def test_a_port_that_a_user_of_a_node_reaches_fails_the_check() -> None:
    with pytest.raises(CheckFailedError, match=r"port 18043 of 127\.0\.0\.1 can be reached by hapacs on pacs2"):
        unauthorized.check_local_ports(cast(Site, FakeSite(("pacs2", 18043))))
