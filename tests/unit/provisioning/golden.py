"""The golden contract of the lab, and the variables that the inventory plugin promises to make of it."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[3]
LAB = json.loads((ROOT / "tests/contract/lab.json").read_text())
_PRIMARY = {name: value for name, value in LAB["sites"]["primary"].items() if name != "backup"}
GOLDEN = LAB | {"sites": {"primary": _PRIMARY}}
"""The lab with its primary site alone, and so without a place for backups."""

GROUPS = ("etcd", "postgres", "cas", "pacs", "load_balancer", "monitoring")
CONNECTION = {"ansible_host", "ansible_port", "ansible_user", "ansible_ssh_private_key_file", "ansible_ssh_common_args"}
ALL = {"hapacs_deployment", "hapacs_target", "hapacs_sizing", "hapacs_state_directory", "hapacs_pki_directory"}
HOST = {
    "hapacs_node",
    "hapacs_site",
    "hapacs_zone",
    "hapacs_address",
    "hapacs_management_address",
    "hapacs_das_devices",
    "hapacs_das_wipe_serials",
    "hapacs_data_directory",
    "hapacs_backups_kept",
}
SITE = {
    "hapacs_members",
    "hapacs_vip",
    "hapacs_cluster_network",
    "hapacs_management_networks",
    "hapacs_client_networks",
    "hapacs_replicators",
    "hapacs_dicom",
    "hapacs_https_port",
    "hapacs_callers",
    "hapacs_policy",
    "hapacs_routing",
    "hapacs_monitoring",
    "hapacs_worklist",
    "hapacs_backup",
}
