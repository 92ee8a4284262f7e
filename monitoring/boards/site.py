"""Dashboards of the site as a whole: overview and objectives."""

from __future__ import annotations

from monitoring.boards.model import Board, Panel, Query, lines, stat

_ALERTS = 'ALERTS{alertstate="firing",severity!="watchdog"}'

OVERVIEW = Board(
    "overview",
    "Overview",
    (
        stat("Alerts that page", 'count(ALERTS{alertstate="firing",severity="page"}) or vector(0)', red_from=1),
        stat("Storing services usable", "site:store_servers_up:count", red_below=1),
        stat("Answering services usable", "site:query_servers_up:count", red_below=1),
        stat("Nodes with the virtual address", "site:address_holders:count", red_below=1, red_from=2),
        stat("Leaders of the database", "site:database_leaders:count", red_below=1, red_from=2),
        stat("Nodes that do not answer", 'count(up{job="prometheus-node-exporter"} == 0) or vector(0)', red_from=1),
        Panel("Alerts now", (Query(_ALERTS),), kind="table", about="Its runbook is in docs/runbooks.", wide=True),
        lines(
            "Failed tries of the probes",
            'sum by (step, way) (increase(hapacs_probe_steps_total{result="failed"}[5m]))',
            "{{step}} {{way}}",
            about="Callers fail too. 0 is good.",
        ),
        lines("Stored and read", "sum by (node) (node:stored_bytes:rate5m)", "{{node}}", "Bps"),
        lines(
            "Processors in use",
            '1 - avg by (node) (rate(node_cpu_seconds_total{mode="idle"}[5m]))',
            "{{node}}",
            "percentunit",
        ),
        lines("Memory left", "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", "{{node}}", "percentunit"),
        lines("Room left", "node:filesystem_free:ratio", "{{node}} {{mountpoint}}", "percentunit"),
        lines("Drained nodes", "hapacs_node_drained", "{{node}}", about="1: an operator took it out of service."),
        lines(
            "Units that do not run",
            "count by (node) (hapacs_unit_active == 0) or sum by (node) (hapacs_unit_active * 0)",
            "{{node}}",
        ),
        lines(
            "Network",
            'sum by (node) (rate(node_network_receive_bytes_total{device!="lo"}[5m]))',
            "{{node}} in",
            "Bps",
            "",
            Query('sum by (node) (rate(node_network_transmit_bytes_total{device!="lo"}[5m]))', "{{node}} out"),
        ),
    ),
)

_USED = "avg_over_time(objective:bad:ratio1h[30d]) / on (objective) group_left objective:allowed:ratio"
OBJECTIVES = Board(
    "objectives",
    "Objectives",
    (
        Panel(
            "Budget left of 30 days",
            (Query(f"1 - {_USED}", "{{objective}}"),),
            "percentunit",
            "stat",
            wide=True,
            red_below=0,
        ),
        lines("Bad share of the last hour", "objective:bad:ratio1h", "{{objective}}", "percentunit"),
        lines("Bad share of the last day", "objective:bad:ratio1d", "{{objective}}", "percentunit"),
        lines(
            "How fast the budget burns",
            "objective:bad:ratio6h / on (objective) group_left objective:allowed:ratio",
            "{{objective}}",
            about="1: all of it is used up in 30 days. 6 for six hours wakes somebody.",
        ),
        lines(
            "Failed tries of the last hour", "objective:failed:increase1h", "{{objective}}", about="Alerts need six."
        ),
        lines(
            "Tries of the probes",
            "sum by (node, result) (increase(hapacs_probe_steps_total[5m]))",
            "{{node}} {{result}}",
        ),
        lines(
            "Each node's own services",
            "min by (target, service) (hapacs_probe_node_good)",
            "{{target}} {{service}}",
            about="1: does what a probe asks.",
        ),
    ),
    since="now-30d",
)
