"""Dashboards of where images and rows are: disks, database and archive."""

from __future__ import annotations

from monitoring.boards.model import Board, Query, lines, stat

STORAGE = Board(
    "storage",
    "Storage and integrity",
    (
        stat("Faults that could not be repaired", "sum(hapacs_integrity_open) or vector(0)", red_from=1),
        stat("DAS not mounted", "count(hapacs_das_mounted == 0) or vector(0)", red_from=1),
        lines("Room left on the DAS", "max by (node) (hapacs_das_free_bytes)", "{{node}}", "bytes"),
        lines(
            "Days until a disk is full",
            "node:filesystem_free:ratio / clamp_min(-deriv(node:filesystem_free:ratio[6h]) * 86400, 0.0001)",
            "{{node}} {{mountpoint}}",
            "d",
            "By the last six hours. Very high: it does not fill.",
        ),
        lines(
            "Copies that were restored",
            "sum by (node, reason) (increase(hapacs_das_heals_total[1h]))",
            "{{node}} {{reason}}",
        ),
        lines(
            "Images without an online copy", "sum by (node) (increase(hapacs_das_copies_missed_total[30m]))", "{{node}}"
        ),
        lines(
            "Errors of disks",
            "sum by (node, device, kind) (hapacs_das_errors_total) > 0",
            "{{node}} {{device}} {{kind}}",
        ),
        lines(
            "Eviction",
            "sum by (node) (rate(hapacs_das_eviction_seconds_total[5m]))",
            "{{node}}",
            "percentunit",
            "Share of the time in which online copies are removed.",
        ),
        lines(
            "Bytes that eviction still has to free",
            "max by (node) (hapacs_das_eviction_short_bytes)",
            "{{node}}",
            "bytes",
        ),
        lines(
            "Time since a check ended",
            "time() - hapacs_check_ended_time_seconds",
            "{{node}} {{check}}",
            "s",
            "After three days the alert CheckOverdue comes.",
        ),
        lines("Read by scrub", "sum by (node) (rate(hapacs_scrub_bytes_total[15m]))", "{{node}}", "Bps"),
        lines(
            "Share that scrub has read",
            "max by (node, place) (hapacs_scrub_read_share)",
            "{{node}} {{place}}",
            "percentunit",
        ),
        lines(
            "Disks busy",
            "max by (node, device) (rate(node_disk_io_time_seconds_total[5m]))",
            "{{node}} {{device}}",
            "percentunit",
        ),
        lines(
            "Written to disks",
            "sum by (node) (rate(node_disk_written_bytes_total[5m]))",
            "{{node}} written",
            "Bps",
            "",
            Query("sum by (node) (rate(node_disk_read_bytes_total[5m]))", "{{node}} read"),
        ),
    ),
    since="now-24h",
)

DATABASE = Board(
    "database",
    "Database and etcd",
    (
        stat("Leaders", "site:database_leaders:count", red_below=1, red_from=2),
        stat("Standbys that confirm", "sum(patroni_sync_standby) + sum(patroni_quorum_standby)"),
        lines("Who leads", "patroni_primary", "{{node}}", about="1: leads."),
        lines("Standbys are behind", "pg_replication_lag_seconds", "{{node}}", "s"),
        lines(
            "Transactions",
            "sum by (node) (rate(pg_stat_database_xact_commit[5m]))",
            "{{node}}",
            "ops",
            "",
            Query("sum by (node) (rate(pg_stat_database_xact_rollback[5m]))", "{{node}} rolled back"),
        ),
        lines("Connections", "sum by (node, datname) (pg_stat_database_numbackends)", "{{node}} {{datname}}"),
        lines("Size", "max by (datname) (pg_database_size_bytes)", "{{datname}}", "bytes"),
        lines(
            "Deadlocks", "sum by (node, datname) (increase(pg_stat_database_deadlocks[15m]))", "{{node}} {{datname}}"
        ),
        lines(
            "Read from disk for each block found in memory",
            "sum by (node) (rate(pg_stat_database_blks_read[5m]))"
            " / sum by (node) (rate(pg_stat_database_blks_hit[5m]))",
            "{{node}}",
            "percentunit",
        ),
        lines(
            "Connections of services that were lost",
            "sum by (node, service) (increase(hapacs_database_connections_lost_total[15m]))",
            "{{node}} {{service}}",
        ),
        lines("etcd leads", "etcd_server_is_leader", "{{node}}", about="1: leads."),
        lines("etcd's leader changed", "increase(etcd_server_leader_changes_seen_total[1h])", "{{node}}"),
        lines(
            "Time of etcd's fsync",
            "rate(etcd_disk_wal_fsync_duration_seconds_sum[5m]) / rate(etcd_disk_wal_fsync_duration_seconds_count[5m])",
            "{{node}}",
            "s",
            "On average. More than 10 ms is slow.",
        ),
        lines(
            "etcd's quota in use",
            "etcd_mvcc_db_total_size_in_bytes / etcd_server_quota_backend_bytes",
            "{{node}}",
            "percentunit",
        ),
    ),
)

ARCHIVE = Board(
    "archive",
    "Archive",
    (
        stat("Leading masters", "sum(SeaweedFS_master_is_leader)", red_below=1, red_from=2),
        stat("Volumes with too few copies", "sum(SeaweedFS_master_under_replicated_volumes)", red_from=1),
        lines(
            "Gateways in use",
            "max by (gateway) (hapacs_cas_gateway_up)",
            "{{gateway}}",
            about="1: at least one node uses it.",
        ),
        lines("Requests", "sum by (node, type) (rate(SeaweedFS_s3_request_total[5m]))", "{{node}} {{type}}", "ops"),
        lines(
            "Requests that failed",
            'sum by (node, code) (rate(SeaweedFS_s3_request_total{code=~"5.."}[5m]))',
            "{{node}} {{code}}",
            "ops",
        ),
        lines(
            "Time of a request",
            "sum by (node, type) (rate(SeaweedFS_s3_request_seconds_sum[5m]))"
            " / sum by (node, type) (rate(SeaweedFS_s3_request_seconds_count[5m]))",
            "{{node}} {{type}}",
            "s",
            "On average.",
        ),
        lines(
            "Bytes in the archive",
            "max by (bucket) (SeaweedFS_s3_bucket_size_bytes)",
            "{{bucket}}",
            "bytes",
            "",
            Query("max by (bucket) (SeaweedFS_s3_bucket_physical_size_bytes)", "{{bucket}} with all copies"),
        ),
        lines("Objects", "max by (bucket) (SeaweedFS_s3_bucket_object_count)", "{{bucket}}"),
        lines(
            "Volumes",
            "sum by (node) (SeaweedFS_volumeServer_volumes)",
            "{{node}}",
            "short",
            "",
            Query("sum by (node) (SeaweedFS_volumeServer_max_volumes)", "{{node}} at most"),
        ),
        lines(
            "Volumes that take nothing",
            "sum by (node, type) (SeaweedFS_volumeServer_read_only_volumes)",
            "{{node}} {{type}}",
        ),
        lines(
            "Failures of volume servers",
            "sum by (node) (increase(SeaweedFS_volumeServer_storage_io_error_total[15m]))",
            "{{node}} disk",
            "short",
            "",
            Query("sum by (node) (increase(SeaweedFS_volumeServer_file_write_failures[15m]))", "{{node}} write"),
            Query("sum by (node) (increase(SeaweedFS_volumeServer_file_read_failures[15m]))", "{{node}} read"),
        ),
        lines(
            "Images that share an object",
            "sum by (node) (rate(hapacs_cas_images_sum[15m])) / sum by (node) (rate(hapacs_cas_images_count[15m]))",
            "{{node}}",
        ),
        lines(
            "Objects that were there already", "sum by (node) (increase(hapacs_cas_deduplicated_total[1h]))", "{{node}}"
        ),
        lines(
            "Time of the filers' database",
            "sum by (node, type) (rate(SeaweedFS_filerStore_request_seconds_sum[5m]))"
            " / sum by (node, type) (rate(SeaweedFS_filerStore_request_seconds_count[5m]))",
            "{{node}} {{type}}",
            "s",
        ),
    ),
)
