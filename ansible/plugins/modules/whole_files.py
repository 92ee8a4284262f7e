#!/usr/bin/python
"""Ansible module: all files and directories of a role at once; used by the action `files`."""

from __future__ import annotations

DOCUMENTATION = r"""
module: whole_files
short_description: Write files and directories with content, owner and mode
description:
  - The C(files) action plugin renders the content and calls it.
  - A file that differs is written beside the current one, validated, and renamed over it.
options:
  files:
    description: JSON list of C(path), C(owner), C(group), C(mode) and, for files, C(content), optionally C(validate).
    type: str
    required: true
author: hapacs
"""

EXAMPLES = r"""
- name: Write a file
  whole_files:
    files: '[{"path": "/etc/motd", "owner": "root", "group": "root", "mode": "0644", "content": "Welcome"}]'
"""

RETURN = r"""
written:
  description: Change of each path that differed.
  returned: always
  type: dict
"""

import grp
import json
import pwd
import shlex
from functools import partial
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.whole_file import Rights, put, rights_of


class WrongError(Exception):
    """A file cannot be written as requested."""


def rights(wanted: dict[str, Any], check_mode: bool) -> Rights | None:
    """Return the requested rights; None in check mode for a user or group that does not exist yet."""
    try:
        uid, gid = pwd.getpwnam(wanted["owner"]).pw_uid, grp.getgrnam(wanted["group"]).gr_gid
    except KeyError as error:
        if check_mode:
            return None
        raise WrongError(f"{wanted['path']}: {error.args[0]}") from error
    return Rights(uid, gid, int(wanted["mode"], 8))


def differs(wanted: dict[str, Any], asked: Rights | None) -> str | None:
    """Return what differs about a path, or None."""
    path = Path(wanted["path"])
    content = wanted.get("content")
    if not path.exists():
        return "missing"
    if path.is_dir() != (content is None):
        raise WrongError(f"{path} is {'a directory' if path.is_dir() else 'no directory'}; move it away")
    if content is not None and path.read_bytes() != content.encode():
        return "content"
    return None if rights_of(path) == asked else "owner, group or mode"


def validated(module: AnsibleModule, wanted: dict[str, Any], temporary: str) -> None:
    """Validate a file with a program before it is renamed into place.

    Raises
    ------
    WrongError
        With the program's output.
    """
    words = [word.replace("%s", temporary) for word in shlex.split(wanted["validate"])]
    status, output, errors = module.run_command(words)
    if status != 0:
        told = (errors or output).strip().replace(temporary, wanted["path"])
        raise WrongError(f"{wanted['path']} is refused by {words[0]} and was not changed: {told}")


def make(module: AnsibleModule, wanted: dict[str, Any], asked: Rights) -> None:
    """Create or change a path as requested."""
    path = Path(wanted["path"])
    if "content" not in wanted:
        path.mkdir(mode=0o700, exist_ok=True)
        module.set_owner_if_different(str(path), asked.uid, False)
        module.set_group_if_different(str(path), asked.gid, False)
        path.chmod(asked.mode)
        return
    look = partial(validated, module, wanted) if wanted.get("validate") else lambda _: None
    put(str(path), wanted["content"].encode(), asked, look)


def main() -> None:
    """Run the module."""
    # The argument may contain secrets, so it stays out of logs and results; the result names paths only.
    module = AnsibleModule(
        argument_spec={"files": {"type": "str", "required": True, "no_log": True}}, supports_check_mode=True
    )
    written = {}
    try:
        for wanted in json.loads(module.params["files"]):
            asked = rights(wanted, module.check_mode)
            if why := differs(wanted, asked):
                written[wanted["path"]] = why
                if not module.check_mode:
                    make(module, wanted, asked)
    except (WrongError, OSError) as error:
        module.fail_json(msg=str(error), written=written, changed=bool(written))
    module.exit_json(changed=bool(written), written=written)


if __name__ == "__main__":
    main()
