from pathlib import Path

import pytest

from hapacs.bench import cpu, node_cpu
from hapacs.bench.cpu import Snapshot

STATISTICS = "cpu  100 20 30 900 50 5 7 3 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"


def answer(kernel: str, busy_s: float, **units: float) -> dict[str, object]:
    return {"kernel": kernel, "busy_s": busy_s, "units": units}


def test_a_kernel_that_nodes_share_counts_once() -> None:
    one, two = answer("one", 10, etcd=1, haproxy=2), answer("one", 10.5, etcd=3)
    taken = cpu.combine({"a": one, "b": two, "c": answer("two", 4, etcd=5)})
    assert taken.units == {"a": {"etcd": 1, "haproxy": 2}, "b": {"etcd": 3}, "c": {"etcd": 5}}
    assert sum(taken.busy.values()) == 14.5


def test_unaccounted_processor_time_is_the_rest_and_services_count_for_their_node_too() -> None:
    before = Snapshot({"one": 100.0}, {"a": {"etcd": 1.0, "patroni": 4.0}, "b": {"etcd": 3.0}})
    after = Snapshot({"one": 110.0}, {"a": {"etcd": 1.5, "patroni": 8.0}, "b": {"etcd": 3.5}})
    used = cpu.between(before, after, 1.5)
    assert used.components == {"etcd": 1.0, "patroni": 4.0, cpu.CLIENT: 1.5, cpu.REST: 3.5}
    assert used.nodes == {"a": 4.5, "b": 0.5}


def test_restarted_service_counts_from_its_start() -> None:
    before = Snapshot({"one": 0.0}, {"a": {"haproxy": 50.0}})
    after = Snapshot({"one": 9.0}, {"a": {"haproxy": 2.0, "new": 1.0}})
    used = cpu.between(before, after, 0)
    assert used.components == {"haproxy": 2.0, "new": 1.0, cpu.CLIENT: 0, cpu.REST: 6.0}
    assert used.nodes == {"a": 3.0}


def test_shares_of_an_image_are_sorted_and_those_that_round_to_0_left_out() -> None:
    used = cpu.Used({"etcd": 0.01, "patroni": 0.05, "ssh": 0.00001}, {"a": 0.02, "b": 0.04})
    used.add(cpu.Used({"etcd": 0.01}, {"c": 0.06}))
    shown = used.document(10)
    assert list(shown["cpu_ms_per_instance"].items()) == [("patroni", 5.0), ("etcd", 2.0)]
    assert list(shown["cpu_ms_per_instance_by_node"].items()) == [("c", 6.0), ("b", 4.0), ("a", 2.0)]


def test_services_and_their_times_are_read_from_the_control_groups(tmp_path: Path) -> None:
    for name, used in {"etcd.service": 1_500_000, "das.mount": 7, "user@0.service": 0}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "cpu.stat").write_text(f"usage_usec {used}\nuser_usec 1\nsystem_usec 2\n")
    assert node_cpu.units(tmp_path) == {"etcd": 1.5, "user@0": 0}


def test_memory_is_what_services_allocated_without_their_files(tmp_path: Path) -> None:
    groups, processes = tmp_path / "cgroup", tmp_path / "proc"
    for place, pids in ((groups / "etcd.service", [7]), (groups / "patroni.service" / "postgres", [8, 9, 10])):
        place.mkdir(parents=True)
        (place / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
    # The process 10 has ended.
    for pid in (7, 8, 9):
        (processes / str(pid)).mkdir(parents=True)
        (processes / str(pid) / "smaps_rollup").write_text(
            f"5-6 ---p 0 00:00 0 [rollup]\nRss: 900 kB\nPss: 800 kB\nPss_Anon: {pid} kB\nPss_File: 700 kB\n"
        )
    assert node_cpu.memory(groups, processes) == {"etcd": 7 << 10, "patroni": 17 << 10}


def test_idling_and_waiting_for_a_disk_is_no_work() -> None:
    assert node_cpu.busy_s(STATISTICS, 100) == pytest.approx(1.62)
