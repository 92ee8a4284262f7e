"""Results and sites that nobody measured."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from hapacs.bench import bare, cpu, footprint
from hapacs.bench.bare import Bare
from hapacs.dicom import Caller, Peer
from hapacs.settings import LabTarget
from hapacs.site.access import Node

NODE = Node("n1", "10.0.0.11", "10.0.0.11", "hapacs", 22)


def site() -> Any:
    """A site as far as a benchmark that talks to nobody needs it."""
    return SimpleNamespace(
        name="primary",
        caller=Caller("TESTER"),
        store_peer=Peer("10.0.0.10", 11112, "STORE"),
        query_peer=Peer("10.0.0.10", 11112, "QUERY"),
        vip="10.0.0.10",
        contract={"https_port": 443, "policy": {"das_minimum_free_bytes": 1000}},
        secrets={"hapacs_secret_dicomweb_users": {"verify": "password"}},
        tls=lambda *_, **__: None,
        members=lambda _: [NODE],
        deployment=SimpleNamespace(settings=SimpleNamespace(target=LabTarget(kind="lab"))),
    )


class World:
    """What is asked of the nodes, and what was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[Any] = []
        self.busy = 0.0
        monkeypatch.setattr(bare, "running", self._running)
        monkeypatch.setattr(cpu, "take", self._take)
        monkeypatch.setattr(footprint, "require_room", lambda _, wanted: self.events.append(("room", wanted)))
        monkeypatch.setattr(footprint, "wait_for_copies", lambda *_: 7)
        monkeypatch.setattr(footprint, "found", lambda _, studies: sum(len(study.images) for study in studies))
        monkeypatch.setattr(footprint, "objects", lambda _, studies: [(study.uid, "n1") for study in studies])
        monkeypatch.setattr(footprint, "empty_das", lambda _, stored: self.events.append(("emptied", len(stored))))
        monkeypatch.setattr(footprint, "drop_page_cache", lambda _: None)
        monkeypatch.setattr(footprint, "remove", lambda _, studies: self.events.append(("removed", len(studies))))

    @contextmanager
    def _running(self, *_: Any, **__: Any) -> Iterator[Bare]:
        self.events.append("bare runs")
        try:
            yield Bare(NODE, Peer("10.0.0.11", 11199, "BARE"), "10.0.0.11", 11198)
        finally:
            self.events.append("bare is gone")

    def _take(self, _: Any) -> cpu.Snapshot:
        self.busy += 1
        return cpu.Snapshot({"kernel": self.busy}, {"n1": {"orthanc-store": self.busy / 2}})


def series(*values: float) -> dict[str, Any]:
    """A measured series as JSON has it."""
    return {"median": sorted(values)[len(values) // 2], "spread": 0.1, "rounds": list(values)}


def ingest(**changed: Any) -> dict[str, Any]:
    """A result of the benchmark of ingest."""

    def side(rate: float) -> dict[str, Any]:
        return {
            "per_s": series(rate - 1, rate, rate + 1),
            "instances": 600,
            "response_ms": {"p50": 70.0, "p95": 90.0, "p99": 110.0},
            "cpu_ms_per_instance": {"orthanc-store": 5.0, "kernel and others": 3.0, "etcd": 0.1, "ssh": 0.05},
            "cpu_ms_per_instance_by_node": {"n1": 5.0, "n2": 0.1},
        }

    def part(associations: int, site_per_s: float, bare_per_s: float) -> dict[str, Any]:
        return {
            "ratio": site_per_s / bare_per_s,
            "site_per_s": site_per_s,
            "bare_per_s": bare_per_s,
            "associations": associations,
            "site": side(site_per_s),
            "bare": side(bare_per_s),
        }

    return {
        "benchmark": "ingest",
        "at": "2026-01-01T00:00:00Z",
        "failed": 0,
        "failures": [],
        **part(8, 60, 120),
        "alone": part(1, 20, 25),
    } | changed


def retrieve() -> dict[str, Any]:
    """A result of the benchmark of retrieval."""
    used = {"orthanc-query": 1.0, "client": 0.5}
    one = {
        "ratio": 0.9,
        "site": {"per_s": series(90, 91, 92), "cpu_ms_per_instance": used},
        "bare": {"per_s": series(100, 101, 102), "cpu_ms_per_instance": used},
    }
    both = {"wado-rs": one, "c-get": one}
    return {"at": "2026-01-01T00:00:00Z", "warm_ratio": 0.9, "cold_ratio": 0.9, "failed": 0, "warm": both, "cold": both}


def viewer() -> dict[str, Any]:
    """A result of the benchmark of the viewer."""
    side = {"first_frame_s": series(0.1, 0.11, 0.12), "all_frames_s": series(1.0, 1.1, 1.2), "cpu_ms_per_instance": {}}
    one = {"ratio": 0.9, "first_frame_ratio": 1.0, "site": side, "bare": side}
    return {
        "at": "2026-01-01T00:00:00Z",
        "warm_ratio": 1.6,
        "cold_ratio": 0.9,
        "failed": 0,
        "instances": 500,
        "connections": 6,
        "warm": one,
        "cold": one,
    }


def growth() -> dict[str, Any]:
    """A result of the benchmark of growth."""
    rates = {"ingest": {"per_s": series(60, 61, 62)}, "qido-rs study": {"per_s": series(200, 201, 202)}}
    return {
        "at": "2026-01-01T00:00:00Z",
        "growth_ratio": 0.98,
        "ratios": {"ingest": 1.0, "qido-rs study": 0.98},
        "failed": 0,
        "few": {"rows": 1000, **rates},
        "many": {"rows": 1000000, **rates},
    }


def copies() -> dict[str, Any]:
    """A result of the benchmark of copies."""
    side = {"per_s": series(19, 20, 21), "response_ms": {"p50": 70.0, "p95": 90.0, "p99": 110.0}}
    return {
        "at": "2026-01-01T00:00:00Z",
        "ratio": 0.93,
        "p95_ratio": 1.08,
        "failed": 0,
        "failures": [],
        "associations": 8,
        "instances_per_round": 200,
        "rows": 512,
        "backlog": 10_000,
        "copies": {"off": side, "on": side},
        "beside": {"nothing": side, "backlog": side},
    }


def routing() -> dict[str, Any]:
    """A result of the benchmark of routing."""
    return {
        "at": "2026-01-01T00:00:00Z",
        "ratio": 1.1,
        "live_ratio": 0.97,
        "failed": 0,
        "instances": 10_000,
        "image_rows": 512,
        "associations": 2,
        "backlog_per_s": series(109, 111),
        "storescu_per_s": series(99, 100, 101),
        "live_per_s": {"alone": series(100, 100), "beside the dead one": series(97, 97)},
    }
