"""Shows how far the second site is behind, as metrics."""

from hapacs_node.catalog.canary import Canary
from hapacs_node.catalog.compared import Compared
from hapacs_node.catalog.replication import Lag
from hapacs_node.metrics import Metrics
from hapacs_node.replication.names import DESTINATION, DIFFERENCES


class Shown:
    """The gauges of the copies. A site without a second one has none of them.

    Parameters
    ----------
    metrics : Metrics
        Where they are.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._rpo = metrics.gauge(
            "hapacs_replication_rpo_seconds",
            "Age of the oldest acknowledged image that is not confirmed at the second site",
            ["destination"],
        )
        self._missing = metrics.gauge(
            "hapacs_replication_missing_images",
            "Images that are not confirmed at the second site: stored since the copies began, or before",
            ["lane"],
        )
        self._compared = metrics.gauge(
            "hapacs_replication_compared_time_seconds",
            "When all images were compared with those of the second site; before the first time, when the copies began",
            ["destination"],
        )
        self._differences = metrics.gauge(
            "hapacs_replication_differences", "Images that differed in the last comparison of both sites", ["kind"]
        )
        self._canary = metrics.gauge(
            "hapacs_replication_canary_confirmed_time_seconds",
            "When a canary was confirmed at the second site last; before the first time, when canaries began",
            ["destination"],
        )
        self._canary_seconds = metrics.gauge(
            "hapacs_replication_canary_seconds",
            "Time of the last confirmed canary from its acknowledgement to its confirmation",
            ["destination"],
        )
        self._late = metrics.gauge(
            "hapacs_replication_canaries_late",
            "Canaries of the last hour that were not confirmed within a minute",
            ["destination"],
        )

    def set(self, lag: Lag | None, compared: Compared | None, canary: Canary | None) -> None:
        """Show what was found; nothing when no image is copied."""
        for gauge in (
            self._rpo, self._missing, self._compared, self._differences, self._canary, self._canary_seconds, self._late,
        ):  # fmt: skip
            gauge.clear()
        if canary is not None:
            self._canary.labels(DESTINATION).set((canary.confirmed_at or canary.since).timestamp())
            self._late.labels(DESTINATION).set(canary.late)
            if canary.seconds is not None:
                self._canary_seconds.labels(DESTINATION).set(canary.seconds)
        if compared is not None:
            self._compared.labels(DESTINATION).set(compared.at.timestamp())
            for kind in DIFFERENCES:
                self._differences.labels(kind).set(compared.counts.get(kind, 0))
        if lag is not None:
            self._rpo.labels(DESTINATION).set(lag.rpo_s)
            self._missing.labels("new").set(lag.images + lag.unplanned)
            self._missing.labels("past").set(lag.past_images)
