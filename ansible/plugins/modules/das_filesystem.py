#!/usr/bin/python
"""Ansible module: one btrfs over a node's DAS disks, created without losing data."""

from __future__ import annotations

DOCUMENTATION = r"""
module: das_filesystem
short_description: One btrfs file system over the DAS disks
description:
  - Creates it when every disk is empty (no signature of any kind). Changes nothing when all disks belong to it. Refuses
    any other state.
  - Wipes a disk only when its serial number is given and no disk belongs to the file system yet, and never a disk
    in use.
  - Data and metadata are mirrored (raid1) over two or more disks; on one disk metadata is duplicated (dup).
options:
  devices:
    description: The disks.
    type: list
    elements: str
    required: true
  label:
    description: Label of the file system.
    type: str
    required: true
  wipe_serials:
    description: Serial numbers, as C(lsblk) prints them, of disks that may be wiped before the file system is created.
    type: list
    elements: str
    default: []
author: hapacs
"""

EXAMPLES = r"""
- name: Create one file system
  das_filesystem:
    devices: [/dev/sdb, /dev/sdc]
    label: hapacs-das
"""

RETURN = r"""
uuid:
  description: UUID of the file system; empty in check mode before it is created.
  returned: always
  type: str
wiped:
  description: Disks that were wiped; in check mode, that would be wiped.
  returned: always
  type: list
  elements: str
"""

import json

from ansible.module_utils.basic import AnsibleModule

NOTHING_FOUND = 2
"""Exit code of blkid for a device without any signature."""


def signature(module: AnsibleModule, device: str) -> dict[str, str]:
    """Return the signatures that libblkid reads from a device, without its cache; empty for a blank device."""
    code, output, error = module.run_command(["blkid", "--probe", "--output", "export", device])
    if code == NOTHING_FOUND and not error:
        return {}
    if code:
        module.fail_json(msg=f"{device} can't be read: {error.strip() or 'it has signatures of several kinds'}.")
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)


def partitions(module: AnsibleModule, device: str) -> bool:
    """Return whether a device has partitions or is used by another device."""
    code, output, error = module.run_command(["lsblk", "--json", "--output", "NAME,TYPE", device])
    if code:
        module.fail_json(msg=f"{device} can't be inspected: {error.strip()}. Is it attached?")
    return any(found.get("children") for found in json.loads(output)["blockdevices"])


def serial(module: AnsibleModule, device: str) -> str:
    """Return a disk's serial number, or an empty text."""
    _, output, _ = module.run_command(["lsblk", "--nodeps", "--noheadings", "--output", "SERIAL", device])
    return str(output.strip())


def refuse_foreign(module: AnsibleModule, foreign: dict[str, str], *, may_be_wiped: bool) -> None:
    """Fail unless each disk with content may be wiped.

    Parameters
    ----------
    foreign
        What each of them holds.
    may_be_wiped
        Whether a serial number counts at all.
    """
    serials = {device: serial(module, device) for device in foreign}
    permitted = module.params["wipe_serials"] if may_be_wiped else []
    refused = {device: what for device, what in foreign.items() if serials[device] not in permitted}
    if refused:
        held = ", ".join(
            f"{device} holds {what} (serial number {serials[device] or 'unknown'})" for device, what in refused.items()
        )
        module.fail_json(
            msg=f"{held}. Nothing was changed. Name other disks, empty these yourself with wipefs, or give the serial "
            "numbers of disks that may be emptied (settings: wipe_serials of the node)."
        )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "devices": {"type": "list", "elements": "str", "required": True},
            "label": {"type": "str", "required": True},
            "wipe_serials": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    devices, label = module.params["devices"], module.params["label"]
    found = {device: signature(module, device) for device in devices}
    ours = {device: s["UUID"] for device, s in found.items() if s.get("TYPE") == "btrfs" and s.get("LABEL") == label}
    foreign = {
        device: s.get("TYPE", "partitions")
        for device, s in found.items()
        if device not in ours and (s or partitions(module, device))
    }
    # No disk is wiped beside a disk with online copies: it may be a damaged part of that mirror.
    refuse_foreign(module, foreign, may_be_wiped=not ours)
    if len(set(ours.values())) > 1:
        module.fail_json(msg=f"The disks belong to different file systems: {ours}. Nothing was changed.")
    if ours and len(ours) < len(devices):
        blank = ", ".join(device for device in devices if device not in ours)
        module.fail_json(
            msg=f"{blank} is empty while {', '.join(ours)} holds online copies. Nothing was changed. A new disk "
            "takes the place of a lost one by `btrfs replace`, see the README of the role das."
        )
    if ours:
        module.exit_json(changed=False, uuid=next(iter(ours.values())), wiped=[])
    if module.check_mode:
        module.exit_json(changed=True, uuid="", wiped=list(foreign))
    for device in foreign:
        # Without --force it refuses a device that is in use.
        module.run_command(["wipefs", "--all", "--quiet", device], check_rc=True)
    profile = ["--data", "raid1", "--metadata", "raid1"] if len(devices) > 1 else ["--metadata", "dup"]
    # Without --force mkfs.btrfs refuses a device with a signature by itself: the second guard.
    module.run_command(["mkfs.btrfs", "--quiet", "--label", label, *profile, *devices], check_rc=True)
    module.exit_json(changed=True, uuid=signature(module, devices[0]).get("UUID", ""), wiped=list(foreign))


if __name__ == "__main__":
    main()
