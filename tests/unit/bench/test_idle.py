"""What an idle deployment takes, from two answers of each node."""

from __future__ import annotations

from typing import Any

import pytest

from hapacs.bench import idle


def answer(busy_s: float, memory: dict[str, int], **units: float) -> dict[str, Any]:
    named = {name.replace("_", "-"): used for name, used in units.items()}
    return {"kernel": "one", "processors": 2, "busy_s": busy_s, "units": named, "memory": memory}


def test_shares_are_of_all_processors_and_by_role() -> None:
    before = {"main/a": answer(10, {}, haproxy=1, prometheus=2), "main/b": answer(10, {}, haproxy=1)}
    memory = {"prometheus": 100 << 20, "prometheus-alertmanager": 20 << 20, "ssh": 5 << 20}
    after = {
        "main/a": answer(40, memory, haproxy=3, prometheus=6),
        "main/b": answer(40, {"prometheus": 30 << 20}, haproxy=5),
    }
    found = idle.compared(before, after, 100)
    # 30 s of one kernel with two processors: 6 of the balancers, 4 of Prometheus, the rest of none of them.
    assert found["shares"] == pytest.approx({idle.OTHERS: 0.1, "haproxy": 0.03, "prometheus": 0.02})
    assert (found["share"], found["services_share"]) == pytest.approx((0.15, 0.05))
    assert found["monitoring"] == {"share": pytest.approx(0.02), "memory_bytes": 150 << 20}
    assert found["memory_bytes"] == {"prometheus": 130 << 20, "alertmanager": 20 << 20, "base": 5 << 20}
    assert found["within"] == {"share": False, "monitoring": True}


def test_monitoring_is_held_to_its_memory_too() -> None:
    quiet = {"main/a": answer(10, {})}
    found = idle.compared(quiet, {"main/a": answer(11, {"prometheus": 601 << 20})}, 100)
    assert found["within"] == {"share": True, "monitoring": False}
