"""Removing a node, with a podman that is played."""

import pytest

from hapacs.targets.lab import nodes
from hapacs.targets.lab.podman import LabError


class Podman:
    """Removes the container at the given try, or never."""

    def __init__(self, succeeds_at: int | None, owner: str = "x") -> None:
        self.succeeds_at = succeeds_at
        self.there = True
        self.owner = owner
        self.tries = 0

    def __call__(self, *words: str) -> str:
        assert words[0] == "rm"
        self.tries += 1
        if self.tries != self.succeeds_at:
            raise LabError("`podman rm` failed: open pidfd: No such file or directory", "Again.")
        self.there = False
        return ""

    def find(self, _: str) -> nodes.Found | None:
        return nodes.Found(self.owner, "print", "running") if self.there else None

    def played(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nodes, "podman", self)
        monkeypatch.setattr(nodes, "find", self.find)


@pytest.mark.parametrize("succeeds_at", [1, 2, 3])
def test_failed_removal_of_a_container_is_retried(succeeds_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    podman = Podman(succeeds_at)
    podman.played(monkeypatch)

    nodes.remove("x-n1", "x")

    assert not podman.there
    assert podman.tries == succeeds_at


def test_container_gone_after_a_failed_removal_is_not_removed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    podman = Podman(None)
    podman.played(monkeypatch)
    monkeypatch.setattr(nodes, "find", lambda name: podman.find(name) if not podman.tries else None)

    nodes.remove("x-n1", "x")

    assert podman.tries == 1


def test_refused_removal_reports_the_message_of_podman(monkeypatch: pytest.MonkeyPatch) -> None:
    podman = Podman(None)
    podman.played(monkeypatch)

    with pytest.raises(LabError, match="open pidfd"):
        nodes.remove("x-n1", "x")

    assert podman.there


def test_node_of_another_deployment_is_not_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    podman = Podman(1, owner="y")
    podman.played(monkeypatch)

    with pytest.raises(LabError, match="does not belong"):
        nodes.remove("x-n1", "x")

    assert not podman.tries
