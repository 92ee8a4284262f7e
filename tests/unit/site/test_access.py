"""Commands on a node: which part of them has how much time."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hapacs import ssh
from hapacs.site.access import Node, NodeError, Site

NODE = Node("a", "192.0.2.1", "192.0.2.1", "hapacs", 22)
SITE = SimpleNamespace(deployment=SimpleNamespace(ssh_key=None, known_hosts=None))
STARTS_THEN_WORKS = "import sys, time; print(flush=True); time.sleep(1); print(sys.stdin.read())"


def run(monkeypatch: pytest.MonkeyPatch, program: str, **limits: float) -> str:
    """Run a Python program in place of SSH."""
    monkeypatch.setattr(ssh, "command", lambda *_words, **_options: [sys.executable, "-c", program])
    return Site.run(cast(Any, SITE), NODE, ["true"], "input", **limits)


def test_command_that_has_begun_to_answer_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, STARTS_THEN_WORKS, begins_within_s=0.9, timeout_s=60).split() == ["input"]


@pytest.mark.parametrize(
    ("program", "limits", "waited"),
    [
        ("import time; time.sleep(60)", {"begins_within_s": 0.5, "timeout_s": 60}, "0.5"),
        ("import time; time.sleep(60)", {"timeout_s": 0.5}, "0.5"),
        ("import time; print(flush=True); time.sleep(60)", {"begins_within_s": 5, "timeout_s": 6}, "6"),
    ],
)
def test_command_that_is_too_slow_is_ended(
    program: str, limits: dict[str, float], waited: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = time.monotonic()
    with pytest.raises(NodeError, match=f"a by SSH: no answer within {waited} s"):
        run(monkeypatch, program, **limits)
    assert time.monotonic() - begun < 30


def test_failure_names_the_last_line_of_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NodeError) as caught:
        run(monkeypatch, "import sys; sys.exit('first line\\nno route to host')")
    assert caught.value.reason == "no route to host"
