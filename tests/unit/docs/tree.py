"""What the tree has: files, commands with their options, targets of make, units, settings, words."""

import json
import re
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import typer.main

from hapacs import cli
from hapacs.services.table import SERVICES
from hapacs.settings import Settings
from hapacs_node import cli as node_cli
from hapacs_node.settings import Settings as NodeSettings

PROJECT = Path(__file__).parents[3]
# Units of Debian's own packages that no row of the table and no role declares.
DEBIAN_UNITS = {"nginx", "podman", "postgresql", "sshd"}
# Names of other projects that no file of ours has.
FOREIGN = {"pg_rewind"}


@dataclass(frozen=True)
class Tree:
    """The tree that documents are compared with."""

    root: Path = PROJECT

    @cached_property
    def files(self) -> list[str]:
        """Files under version control, and new ones that would be."""
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=True).stdout
        return [name for name in listed.splitlines() if (self.root / name).is_file()]

    @cached_property
    def words(self) -> set[str]:
        """All words of files that are no documents."""
        found = set(FOREIGN)
        for name in self.files:
            if not name.endswith((".md", ".svg", ".txt")) and not name.startswith("tests/unit/docs/"):
                found.update(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", (self.root / name).read_text(errors="replace")))
        return found

    @cached_property
    def commands(self) -> dict[str, Any]:
        """The programs of the tree."""
        return {"hapacs": typer.main.get_command(cli.app), "hapacs-node": typer.main.get_command(node_cli.app)}

    @cached_property
    def make_targets(self) -> set[str]:
        """Targets of the Makefile that people may name."""
        return set(re.findall(r"^([a-z]+):", (self.root / "Makefile").read_text(), re.MULTILINE))

    @cached_property
    def units(self) -> set[str]:
        """Names of systemd units, without `.service`."""
        declared = {service.unit.removesuffix(".service") for service in SERVICES}
        files = (Path(name).name.removesuffix(".j2") for name in self.files if name.startswith("ansible/roles/"))
        own = {name.removesuffix(".service") for name in files if name.endswith((".service", ".timer"))}
        return declared | own | DEBIAN_UNITS

    @cached_property
    def _definitions(self) -> dict[str, Any]:
        site, node = Settings.model_json_schema(), NodeSettings.model_json_schema()
        # Both have a model of the same name for other things: a prefix tells them apart.
        text = json.dumps(node).replace("#/$defs/", "#/$defs/node-")
        node = json.loads(text)
        of_node = {f"node-{name}": it for name, it in node["$defs"].items()}
        return {**site["$defs"], **of_node, "Settings": site, "NodeSettings": node}

    @cached_property
    def setting_names(self) -> set[str]:
        """Names of all settings of a deployment and of a node, at any depth."""
        return {name for it in self._definitions.values() for name in it.get("properties", {})}

    def setting_exists(self, parts: list[str]) -> bool:
        """Tell whether a dotted name leads to a setting, from the top or from any model."""
        return any(self._leads(it, parts) for it in self._definitions.values())

    def _leads(self, schema: dict[str, Any], parts: list[str]) -> bool:
        if not parts:
            return True
        if "$ref" in schema:
            return self._leads(self._definitions[schema["$ref"].rpartition("/")[2]], parts)
        branches = [*schema.get("anyOf", []), *schema.get("oneOf", []), *schema.get("allOf", [])]
        if any(self._leads(branch, parts) for branch in branches):
            return True
        first, *rest = parts
        if first in schema.get("properties", {}):
            return self._leads(schema["properties"][first], rest)
        # A mapping has names that the site chooses; a list has numbers, which documents may leave out.
        for inner in (schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()):
            if isinstance(inner, dict):
                return self._leads(inner, rest)
        items = schema.get("items")
        return isinstance(items, dict) and self._leads(items, rest if first.isdigit() else parts)
