"""Dashboards of what images go through: ingest, retrieval and routing."""

from __future__ import annotations

from monitoring.boards.model import Board, lines, stat

INGEST = Board(
    "ingest",
    "Ingest and retrieval",
    (
        lines(
            "Images stored",
            'sum by (node) (rate(hapacs_storage_step_seconds_count{step="cas_put"}[5m]))',
            "{{node}}",
            "ops",
        ),
        lines(
            "Bytes", "sum by (node, direction) (rate(hapacs_storage_bytes_total[5m]))", "{{node}} {{direction}}", "Bps"
        ),
        lines(
            "Time of 99 % of the steps",
            "histogram_quantile(0.99, sum by (le, step) (rate(hapacs_storage_step_seconds_bucket[5m])))",
            "{{step}}",
            "s",
            "Steps of storing and reading an image, on all nodes.",
        ),
        lines("Failed steps", "sum by (node, step) (node:storage_errors:rate5m)", "{{node}} {{step}}", "ops"),
        lines(
            "Images being stored or read", "sum by (node, service) (hapacs_storage_in_flight)", "{{node}} {{service}}"
        ),
        lines(
            "Connections at the balancers",
            'sum by (node, proxy) (haproxy_backend_current_sessions{proxy=~"(store|query)_.*"})',
            "{{node}} {{proxy}}",
        ),
        lines(
            "Usable services",
            "max by (backend, server) (hapacs_balancer_server_up)",
            "{{backend}} {{server}}",
            about="1: the balancers choose it.",
        ),
        lines(
            "Time of the probes",
            "histogram_quantile(0.95, sum by (le, step, way) (rate(hapacs_probe_seconds_bucket[15m])))",
            "{{step}} {{way}}",
            "s",
            "95 % of the tries; each minute by DICOM and by DICOMweb.",
        ),
        lines(
            "Near a limit",
            "max by (node, limit) (hapacs_admission_near)",
            "{{node}} {{limit}}",
            about="1: callers that can wait are refused.",
        ),
        lines("At a limit", "max by (node, limit) (hapacs_admission_limited)", "{{node}} {{limit}}"),
        lines(
            "Images sent again with other bytes",
            "sum by (caller) (increase(hapacs_images_replaced_total[1h]))",
            "{{caller}}",
        ),
        lines("Storage commitment", "sum by (result) (rate(hapacs_commitment_images_total[5m]))", "{{result}}", "ops"),
    ),
)

ROUTING = Board(
    "routing",
    "Routing and replication",
    (
        stat(
            "Images that will not be sent again",
            'sum(max by (destination) (hapacs_outbox_tasks{state="dead"})) or vector(0)',
            red_from=1,
        ),
        stat("The oldest waits for", "max(hapacs_outbox_oldest_seconds) or vector(0)", "s", red_from=3600),
        stat(
            "Oldest image that the second site lacks (RPO)",
            "max(hapacs_replication_rpo_seconds) or vector(0)",
            "s",
            red_from=900,
        ),
        stat(
            "Last canary confirmed at the second site",
            "time() - max(hapacs_replication_canary_confirmed_time_seconds)",
            "s",
            red_from=600,
        ),
        stat("Rules can't be read", "max(hapacs_routing_rules_invalid)", red_from=1),
        stat("Images today that no rule matched", "max(hapacs_routing_unmatched_today)"),
        lines(
            "Waiting",
            "max by (destination, state) (hapacs_outbox_tasks)",
            "{{destination}} {{state}}",
            about="A second site is a destination too.",
        ),
        lines(
            "Age of the oldest",
            "max by (destination) (hapacs_outbox_oldest_seconds)",
            "{{destination}}",
            "s",
            "After an hour the alert DeliveryLate comes.",
        ),
        lines("Storage commitment: requests", "sum by (state) (hapacs_commitment_requests)", "{{state}}"),
        lines(
            "Storage commitment: reports", "sum by (end) (increase(hapacs_commitment_reports_total[15m]))", "{{end}}"
        ),
    ),
    since="now-24h",
)
