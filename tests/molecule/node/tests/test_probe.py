"""The probe of a whole site of one node: each step is good, and storing again adds no object to the archive."""

from __future__ import annotations

import re
import time
from typing import Any

LIMIT_S = 240
STEPS = {
    ("dicom", step) for step in ("echo", "store", "find", "retrieve")
} | {("dicomweb", step) for step in ("store", "find", "retrieve")}  # fmt: skip
_ENDED = re.compile(r'^hapacs_probe_steps_total\{result="good",step="(\w+)",way="(\w+)"\} ([0-9.]+)$', re.MULTILINE)


def good(host: Any) -> dict[tuple[str, str], float]:
    """Return how often each step was good."""
    text = host.check_output("curl --silent --fail http://127.0.0.1:9332/metrics")
    return {(way, step): float(count) for step, way, count in _ENDED.findall(text)}


def within(host: Any, least: float) -> None:
    """Wait until each step was good so often."""
    deadline = time.monotonic() + LIMIT_S
    while {step for step, count in good(host).items() if count >= least} != STEPS:
        said = host.check_output("journalctl -u hapacs-probe -n 20 --output cat")
        assert time.monotonic() < deadline, f"{good(host)}\n{said}"
        time.sleep(3)


def count(host: Any, what: str) -> int:
    """Count in the catalog's rows of the probe's images."""
    query = f"select {what} from hapacs.object where type = 1 and caller in ('title:HAPACS_PROBE', 'user:hapacs-probe')"  # noqa: S608
    command = f'runuser --user postgres -- psql --dbname pacs --no-align --tuples-only --command "{query}"'
    return int(host.check_output(command))


def test_each_step_is_good_and_the_archive_keeps_one_object_for_each_way(host: Any) -> None:
    within(host, 2)
    assert count(host, "count(*)") >= 4
    assert count(host, "count(distinct digest)") == 2, "each way stores the same bytes each time"
    assert count(host, "count(distinct key)") == 2
    assert count(host, "count(*) filter (where tombstoned_at is null)") == 2


def test_nodes_are_asked_too(host: Any) -> None:
    for service in ("orthanc-store", "orthanc-query"):
        deadline = time.monotonic() + LIMIT_S
        wanted = re.compile(rf'^hapacs_probe_node_good\{{service="{service}",target="[^"]+"\}} 1\.0$', re.MULTILINE)
        while not wanted.search(host.check_output("curl --silent --fail http://127.0.0.1:9332/metrics")):
            assert time.monotonic() < deadline, host.check_output("journalctl -u hapacs-probe -n 20 --output cat")
            time.sleep(3)
