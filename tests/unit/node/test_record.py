"""Results of the last reconcile and scrub: kept on the node, and given as metrics."""

import json
import logging
from pathlib import Path

import pytest

from hapacs_node.errors import CasUnavailableError
from hapacs_node.integrity import record
from hapacs_node.integrity.exposition import Exposition
from hapacs_node.integrity.record import Check, recorded
from hapacs_node.metrics import Metrics

PLACES = [{"place": "archive", "shelves": 65_536, "checked": 16_384, "oldest_at": None}]


def test_a_result_is_kept_and_everybody_may_read_it(tmp_path: Path) -> None:
    with recorded(tmp_path, Check.SCRUB) as result:
        result["open"] = 3
    kept = record.read(tmp_path, Check.SCRUB)
    assert kept is not None
    assert (kept["open"], kept["failure"]) == (3, None)
    assert [path.name for path in tmp_path.iterdir()] == ["scrub.json"]
    assert (tmp_path / "scrub.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("error", "failure"),
    [(CasUnavailableError("no gateway answers"), "no gateway answers"), (KeyError("x"), "KeyError")],
)
def test_a_run_that_fails_says_so_and_keeps_the_numbers_of_the_last_one(
    tmp_path: Path, error: Exception, failure: str
) -> None:
    with recorded(tmp_path, Check.SCRUB) as result:
        result |= {"open": 3, "places": PLACES}
    with pytest.raises(type(error)), recorded(tmp_path, Check.SCRUB):
        raise error
    kept = record.read(tmp_path, Check.SCRUB)
    assert kept is not None
    assert (kept["failure"], kept["open"], kept["places"]) == (failure, 3, PLACES)
    with recorded(tmp_path, Check.SCRUB):
        pass
    kept = record.read(tmp_path, Check.SCRUB)
    assert kept is not None
    assert kept["failure"] is None


def test_the_end_of_a_run_is_an_event(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "hapacs.integrity"), recorded(tmp_path, Check.RECONCILE) as result:
        result["open"] = 2
    assert "event=check_ended check=reconcile open=2 seconds=0.0" in caplog.text


def test_a_directory_that_is_missing_ends_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with recorded(tmp_path / "none", Check.SCRUB):
        pass
    assert "event=result_not_kept check=scrub" in caplog.text


def test_a_result_that_is_cut_off_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "scrub.json").write_text("{")
    assert record.read(tmp_path, Check.SCRUB) is None


def text(directory: Path) -> list[str]:
    metrics = Metrics()
    metrics.registry.register(Exposition(directory))
    return metrics.text().decode().splitlines()


def test_metrics_are_those_of_the_last_results(tmp_path: Path) -> None:
    with recorded(tmp_path, Check.SCRUB) as result:
        result |= {"open": 1, "places": PLACES, "totals": {"bytes": 7_000_000, "healed": 2}}
    with recorded(tmp_path, Check.RECONCILE) as result:
        result |= {"open": 5, "found": {"archive-missing": 5, "das-orphan": 4}, "failure": "no gateway answers"}
    lines = text(tmp_path)
    assert {
        'hapacs_integrity_open{check="scrub"} 1.0',
        'hapacs_integrity_open{check="reconcile"} 5.0',
        'hapacs_integrity_failed{check="scrub"} 0.0',
        'hapacs_integrity_failed{check="reconcile"} 1.0',
        'hapacs_reconcile_findings{kind="archive-missing"} 5.0',
        'hapacs_reconcile_findings{kind="das-orphan"} 4.0',
        'hapacs_scrub_read_share{place="archive"} 0.25',
        "hapacs_scrub_bytes_total 7e+06",
        "hapacs_scrub_healed_total 2.0",
    } <= set(lines)
    ended = json.loads((tmp_path / "scrub.json").read_text())["ended_at"]
    assert [line for line in lines if line.startswith('hapacs_integrity_ended_seconds{check="scrub"}')], ended


def test_before_the_first_run_there_is_no_value(tmp_path: Path) -> None:
    assert [line for line in text(tmp_path) if line.startswith("hapacs_") and "_step_" not in line] == []
