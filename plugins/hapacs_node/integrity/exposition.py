"""The results of the last checks as metrics. The checks end, so the service with metrics reads what they left."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hapacs_node.integrity import record
from hapacs_node.integrity.record import Check


@dataclass(frozen=True)
class Exposition(Collector):
    """Reads the results when the metrics are asked for.

    Parameters
    ----------
    directory : Path
        Where results are kept.
    """

    directory: Path

    def describe(self) -> Iterator[Metric]:
        """Describe nothing, so that registering reads no file."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Return the metrics of the checks that have run on this node."""
        results = {check: found for check in Check if (found := record.read(self.directory, check)) is not None}
        yield from _common(results)
        if (reconciled := results.get(Check.RECONCILE)) is not None:
            findings = GaugeMetricFamily(
                "hapacs_reconcile_findings", "Findings of the last run, repaired ones left out", labels=["kind"]
            )
            for kind, number in reconciled.get("found", {}).items():
                findings.add_metric([kind], number)
            yield findings
        if (scrubbed := results.get(Check.SCRUB)) is not None:
            yield from _of_scrub(scrubbed)


def _common(results: Mapping[Check, Mapping[str, Any]]) -> Iterator[Metric]:
    ended = GaugeMetricFamily("hapacs_integrity_ended_seconds", "Time of the end of the last run", labels=["check"])
    took = GaugeMetricFamily("hapacs_integrity_duration_seconds", "Time that the last run took", labels=["check"])
    failed = GaugeMetricFamily("hapacs_integrity_failed", "Whether the last run did not complete", labels=["check"])
    left = GaugeMetricFamily("hapacs_integrity_open", "Faults that remain after the last run", labels=["check"])
    for check, result in results.items():
        ended.add_metric([check], datetime.fromisoformat(result["ended_at"]).timestamp())
        took.add_metric([check], result["seconds"])
        failed.add_metric([check], result["failure"] is not None)
        left.add_metric([check], result["open"])
    yield from (ended, took, failed, left)


def _of_scrub(result: Mapping[str, Any]) -> Iterator[Metric]:
    totals = result.get("totals", {})
    for name, about in (("bytes", "Bytes that were read again"), ("healed", "Copies that were written again")):
        yield CounterMetricFamily(f"hapacs_scrub_{name}", about, value=totals.get(name, 0))
    share = GaugeMetricFamily(
        "hapacs_scrub_read_share", "Share of a place that was read within the time of the settings", labels=["place"]
    )
    for place in result.get("places", ()):
        share.add_metric([place["place"]], place["checked"] / place["shelves"])
    yield share
