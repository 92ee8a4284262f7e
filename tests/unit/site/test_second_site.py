"""Two nodes are asked what the second site lacks; the first answer counts."""

import json
from collections.abc import Sequence
from typing import Any, cast

from hapacs.site import second_site
from hapacs.site.access import Node, NodeError, Site


class FakeSite:
    """A site of three nodes; some do not answer."""

    def __init__(self, *down: str, second: dict[str, Any] | None = None, lag: dict[str, Any] | None = None) -> None:
        self.down, self.lag = down, lag
        self.contract = {"routing": {} if second is None else {"second_site": second}}
        self.asked: list[str] = []
        self.words: list[str] = []

    def members(self, _group: str) -> list[Node]:
        return [Node(name, "10.0.0.1", "", "hapacs", 22) for name in ("pacs1", "pacs2", "pacs3")]

    def run(self, node: Node, words: Sequence[str], _text: str, _timeout_s: float = 60) -> str:
        assert list(words)[2] == "replication"
        self.words = list(words)[3:-6]
        self.asked.append(node.name)
        if node.name in self.down:
            raise NodeError(node.name, "no answer")
        return json.dumps({"ok": True, "second_site": "dr", "state": "leads", "lag": self.lag})


def test_a_site_without_a_second_one_is_not_asked() -> None:
    site = FakeSite()
    assert second_site.lag(cast(Site, site), 1) is None
    assert site.asked == []


def test_one_node_of_two_is_enough() -> None:
    site = FakeSite("pacs1", second={"name": "dr"}, lag={"rpo_s": 5})
    assert second_site.lag(cast(Site, site), 1) == {
        "name": "dr", "state": "leads", "rpo_s": 5, "canary": None,
    }  # fmt: skip
    assert sorted(site.asked) == ["pacs1", "pacs2"]
    assert site.words == ["status"]


def test_what_is_not_known_is_no_zero() -> None:
    assert second_site.lag(cast(Site, FakeSite("pacs1", "pacs2", second={"name": "dr"})), 1) == {
        "name": "dr",
        "unknown": "no answer",
    }
    assert second_site.lag(cast(Site, FakeSite(second={"name": "dr"})), 1) == {
        "name": "dr",
        "unknown": "no image was copied yet",
    }


def test_the_sites_are_compared_from_a_node_that_answers() -> None:
    site = FakeSite("pacs1")
    assert second_site.compare(cast(Site, site), "")["second_site"] == "dr"
    assert site.asked == ["pacs1", "pacs2"]
    assert site.words == ["compare"]
    second_site.compare(cast(Site, site), "1.2; rm")
    assert site.words == ["compare", "--study", "'1.2; rm'"]
