from pathlib import Path

import pytest

from hapacs.bench import cpu, node_cpu
from hapacs.bench.cpu import Snapshot

STATISTICS = "cpu  100 20 30 900 50 5 7 3 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"


def answer(kernel: str, busy_s: float, **units: float) -> dict[str, object]:
    return {"kernel": kernel, "busy_s": busy_s, "units": units}


def test_a_kernel_that_nodes_share_counts_once_and_their_services_together() -> None:
    taken = cpu.combine([answer("one", 10, etcd=1, haproxy=2), answer("one", 10.5, etcd=3), answer("two", 4, etcd=5)])
    assert taken.units == {"etcd": 9, "haproxy": 2}
    assert sum(taken.busy.values()) == 14.5


def test_unaccounted_processor_time_is_the_rest() -> None:
    before = Snapshot({"one": 100.0}, {"etcd": 1.0, "patroni": 4.0})
    after = Snapshot({"one": 110.0}, {"etcd": 2.0, "patroni": 8.0})
    assert cpu.between(before, after, 1.5) == {"patroni": 4.0, cpu.REST: 3.5, cpu.CLIENT: 1.5, "etcd": 1.0}


def test_restarted_service_counts_from_its_start() -> None:
    before = Snapshot({"one": 0.0}, {"haproxy": 50.0})
    after = Snapshot({"one": 9.0}, {"haproxy": 2.0, "new": 1.0})
    used = cpu.between(before, after, 0)
    assert (used["haproxy"], used["new"], used[cpu.REST]) == (2.0, 1.0, 6.0)


def test_services_and_their_times_are_read_from_the_control_groups(tmp_path: Path) -> None:
    for name, used in {"etcd.service": 1_500_000, "das.mount": 7, "user@0.service": 0}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "cpu.stat").write_text(f"usage_usec {used}\nuser_usec 1\nsystem_usec 2\n")
    assert node_cpu.units(tmp_path) == {"etcd": 1.5, "user@0": 0}


def test_idling_and_waiting_for_a_disk_is_no_work() -> None:
    assert node_cpu.busy_s(STATISTICS, 100) == pytest.approx(1.62)
