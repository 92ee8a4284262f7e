"""Ansible's modules and plugins are no packages: load one by its path."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import ansible.module_utils

PROJECT = Path(__file__).resolve().parents[3]
ANSIBLE = PROJECT / "ansible"
# What our modules share; on a node Ansible puts it there.
ansible.module_utils.__path__.append(str(ANSIBLE / "plugins" / "module_utils"))


class Ended(Exception):  # noqa: N818 - how a module ends, well or badly
    """What a module said at its end."""

    def __init__(self, said: dict[str, Any]) -> None:
        super().__init__(said.get("msg", ""))
        self.said = said


def load(path: str) -> ModuleType:
    """Return the module at ``ansible/plugins/<path>.py``."""
    specification = importlib.util.spec_from_file_location(
        f"plugin_{path.replace('/', '_')}", ANSIBLE / "plugins" / f"{path}.py"
    )
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def load_script(path: str) -> ModuleType:
    """Return the script at ``ansible/roles/<path>``, which has no suffix; it may import modules beside it."""
    file = ANSIBLE / "roles" / path
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    specification = importlib.util.spec_from_file_location(
        file.name.replace("-", "_"), loader=SourceFileLoader(file.name.replace("-", "_"), str(file))
    )
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    # Dataclasses look their module up.
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module
