"""The metrics of a node, declared by its parts."""

import json
from pathlib import Path

import pytest

from hapacs_node import settings
from hapacs_node.metrics import Metrics
from hapacs_node.node import Node

# Dashboards and alerts use these names and labels.
EXPOSED = {
    "hapacs_admission_limited": ("limit",),
    "hapacs_admission_near": ("limit",),
    "hapacs_admission_refused": ("caller",),
    "hapacs_cas_deduplicated": (),
    "hapacs_cas_doubted": ("reason",),
    "hapacs_cas_gateway_up": ("gateway",),
    "hapacs_cas_images": (),
    "hapacs_cas_retries": ("operation",),
    "hapacs_catalog_tombstones": (),
    "hapacs_das_copies_missed": (),
    "hapacs_das_evicted": ("kind",),
    "hapacs_das_evicted_bytes": ("kind",),
    "hapacs_das_eviction_refused": (),
    "hapacs_das_eviction_seconds": (),
    "hapacs_das_eviction_short_bytes": (),
    "hapacs_das_free_bytes": (),
    "hapacs_das_heals": ("reason",),
    "hapacs_das_read_ahead": (),
    "hapacs_database_connections": (),
    "hapacs_database_connections_lost": (),
    "hapacs_database_retries": (),
    "hapacs_derived_rebuilds": (),
    "hapacs_health_ok": ("check",),
    "hapacs_images_replaced": ("caller",),
    "hapacs_storage_bytes": ("direction",),
    "hapacs_storage_errors": ("step", "error"),
    "hapacs_storage_in_flight": (),
    "hapacs_storage_step_seconds": ("step",),
}


def test_a_node_exposes_the_metrics_of_the_dashboards(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret")
    (tmp_path / "cas.json").write_text('{"access_key": "node", "secret_key": "secret"}')
    evict = {"below_free_bytes": 2, "until_free_bytes": 3}
    document = {
        "node": "pacs1",
        "site": "main",
        "database": {"hosts": ["127.0.0.1"], "port": 9, "password_file": str(tmp_path / "password")},
        "das": {"root": str(tmp_path), "minimum_free_bytes": 1, "evict": evict},
        "cas": {
            "gateways": ["http://127.0.0.1:9"],
            "bucket": "archive",
            "credentials_file": str(tmp_path / "cas.json"),
        },
    }
    (tmp_path / "node.json").write_text(json.dumps(document))
    node = Node.build(settings.load(tmp_path / "node.json"), "check")
    declared = node.metrics._declared
    node.close()
    assert {name: metric._labelnames for name, metric in declared.items()} == EXPOSED
    # A metric without labels is exposed before it counts anything.
    text = node.metrics.text().decode()
    assert [name for name in EXPOSED if f"# HELP {name}" not in text] == []


def test_a_metric_that_is_declared_twice_is_the_same() -> None:
    metrics = Metrics()
    assert metrics.counter("hapacs_x", "X") is metrics.counter("hapacs_x", "X")
    with pytest.raises(TypeError, match="declared as a Counter already"):
        metrics.gauge("hapacs_x", "X")
