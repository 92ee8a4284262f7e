"""Which node is asked about the routing of a site."""

import json
from collections.abc import Sequence
from typing import cast

import pytest

from hapacs.errors import HapacsError
from hapacs.site import routing
from hapacs.site.access import Node, NodeError, Site
from hapacs_node.routing.model import Routing


class FakeSite:
    """A site of two nodes; some do not answer."""

    def __init__(self, *down: str) -> None:
        self.name, self.down = "main", down
        self.asked: list[tuple[str, list[str]]] = []
        self.given = ""

    def members(self, _group: str) -> list[Node]:
        return [Node(name, "10.0.0.1", "", "hapacs", 22) for name in ("pacs1", "pacs2")]

    def run(self, node: Node, words: Sequence[str], text: str, _timeout_s: float = 60) -> str:
        self.given = text
        self.asked.append((node.name, list(words)))
        if node.name in self.down:
            raise NodeError(node.name, "no answer")
        return json.dumps({"ok": True})


def test_the_first_node_that_answers_reports() -> None:
    assert routing.status(cast(Site, FakeSite("pacs1"))) == {"node": "pacs2", "ok": True}
    with pytest.raises(HapacsError, match="pacs2"):
        routing.status(cast(Site, FakeSite("pacs1", "pacs2")))


def test_every_node_calls_a_destination_and_its_name_is_one_word() -> None:
    site = FakeSite("pacs2")
    assert routing.ping(cast(Site, site), "a; reboot") == {"pacs1": "", "pacs2": "no answer"}
    assert [words[-1] for _, words in site.asked] == ["'a; reboot'"] * 2


def test_a_replay_gives_the_rules_as_the_input_of_the_nodes_program() -> None:
    site = FakeSite()
    rules = Routing.model_validate({"rules": [{"name": "all", "destinations": ["d"]}]})
    assert routing.replay(cast(Site, site), rules, 3600, 60)["ok"]
    ((_, words),) = site.asked
    assert words[2:9] == ["route", "replay", "/dev/stdin", "--since-s", "3600", "--limit-s", "60"]
    assert Routing.model_validate_json(site.given) == rules
