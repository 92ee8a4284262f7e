"""The checks of a document against the tree: each yields what the document names and the tree has not."""

import fnmatch
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import yaml
from typer.core import TyperGroup

from tests.unit.docs.document import Document
from tests.unit.docs.tree import Tree

TOP = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml", "ansible.cfg")
FOLDERS = ("pulumi", "ansible", "plugins", "docs", "inventories", "tests", "requirements", "monitoring", ".ci")
# What a reader replaces: NAME, VERSION, <role>, one of {a,b}.
_PLACEHOLDER = re.compile(r"<[^>]*>|\b[A-Z][A-Z0-9_]+\b(?!\.md)|\{[^}]*\}|\.\.\.$")
# Files of a deployment that git does not know, or that a run writes.
GENERATED = (
    "inventories/*/group_vars/all/secrets.sops.yaml",
    "inventories/*/authorities.sops.yaml",
    "pulumi/Pulumi.*.yaml",
    ".venv/*",
)


def links(document: Document, _tree: Tree) -> Iterator[str]:
    """Yield links whose file or heading does not exist."""
    for link in document.links:
        name, _, fragment = link.partition("#")
        target = (document.path.parent / name).resolve() if name else document.path
        if name and not target.exists():
            yield f"link {link}: no such file"
        elif fragment and target.suffix == ".md":
            text = target.read_text() if name else document.text
            if fragment not in Document(target, text).anchors:
                yield f"link {link}: no such heading"


def paths(document: Document, tree: Tree) -> Iterator[str]:
    """Yield paths of the tree that do not exist."""
    for code in document.code():
        for word in re.split(r"[\s=\"'(),;]+", code):
            name = word.removeprefix("./").rstrip(".:").partition("#")[0]
            if name not in TOP and not name.startswith(tuple(f"{folder}/" for folder in FOLDERS)):
                continue
            pattern = _PLACEHOLDER.sub("*", name).rstrip("/")
            known = any(fnmatch.fnmatch(it, pattern) or it.startswith(f"{pattern}/") for it in tree.files)
            inside = any(fnmatch.fnmatch(it, f"{pattern}/*") for it in tree.files)
            if not (known or inside or any(fnmatch.fnmatch(pattern, it) for it in GENERATED)):
                yield f"path {word}: no such file"


def commands(document: Document, tree: Tree) -> Iterator[str]:
    """Yield subcommands and options that a program has not."""
    for code in document.code():
        for part in re.split(r"&&|;|\$\(|\|(?!\w)", code):
            words = [word for word in _split(part) if not re.fullmatch(r"[A-Z_]+=.*|eval|sudo|nice|time", word)]
            if words and (program := tree.commands.get(words[0].rpartition("/")[2])):
                yield from (f"command {code}: {problem}" for problem in _wrong(program, words[1:]))
            elif words and words[0] == "make":
                names = [word for word in words[1:] if re.fullmatch(r"[a-z]+", word)]
                yield from (f"command {code}: no target {name}" for name in names if name not in tree.make_targets)


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text.strip('"()'))
    except ValueError:
        return text.split()


def _wrong(program: Any, words: list[str]) -> Iterator[str]:
    command: Any = program
    options: set[str] = set()
    while True:
        options |= {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        if not isinstance(command, TyperGroup):
            break
        rest = [word for word in words if not word.startswith("-")]
        if not rest or not re.fullmatch(r"[a-z][a-z-]*", rest[0]):
            break
        words = words[words.index(rest[0]) + 1 :]
        found = command.get_command(typer.Context(command), rest[0])
        if found is None:
            yield f"no command {rest[0]}"
            return
        command = found
    for word in words:
        option = word.strip("[]").partition("=")[0]
        if re.fullmatch(r"--[a-z][a-z-]*", option) and option not in options | {"--help"}:
            yield f"no option {option}"


def units(document: Document, tree: Tree) -> Iterator[str]:
    """Yield systemd units that no role makes."""
    for code in document.code():
        named = re.findall(r"(?<![\w*/.-])([a-z][a-z0-9-]*)\.(?:service|timer)\b", code)
        named += re.findall(r"journalctl(?: -[a-z] \S+)* -u ([a-z][a-z0-9-]*)", code)
        if match := re.match(r"systemctl (?:--\S+ )*(?:start|stop|restart|status|reload)((?: [a-z][\w.*-]*)+)$", code):
            named += [word.removesuffix(".service") for word in match[1].split() if "*" not in word]
        for name in named:
            if name not in tree.units and f"{name}.timer" not in tree.units:
                yield f"unit {name}: no such unit"


def settings(document: Document, tree: Tree) -> Iterator[str]:
    """Yield settings that no model has: dotted names in running text and keys of YAML blocks."""
    for span in document.spans:
        parts = span.split(".")
        dotted = re.fullmatch(r"[a-z_]+(\.[A-Za-z_0-9]+)+", span) and parts[0] in tree.setting_names
        if dotted and not _is_file(parts[-1]) and not tree.setting_exists(parts):
            yield f"setting {span}: no such setting"
    for language, block in document.blocks:
        if language == "yaml" and isinstance(content := yaml.safe_load(block), dict):
            for key in _keys(content):
                if key[0] in tree.setting_names and not tree.setting_exists(key):
                    yield f"setting {'.'.join(key)}: no such setting"


def _is_file(suffix: str) -> bool:
    return suffix in {"service", "timer", "yaml", "yml", "json", "md", "py", "sh", "crt", "key", "pem", "txt", "log"}


def _keys(content: object, above: tuple[str, ...] = ()) -> Iterator[list[str]]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield [*above, str(key)]
            yield from _keys(value, (*above, str(key)))
    elif isinstance(content, list):
        for value in content:
            yield from _keys(value, above)


def identifiers(document: Document, tree: Tree) -> Iterator[str]:
    """Yield names with underscores (settings, variables, metrics) that no file but documents has."""
    for span in document.spans:
        for name in re.findall(r"(?<![\w./-])[a-z][a-z0-9]*(?:_[a-z0-9]+)+(?![\w*/-])", span):
            known = {name, f"hapacs_secret_{name}"} & tree.words
            if not known and not any(Path(it).stem == name for it in tree.files):
                yield f"name {name}: not in the tree"


ALL = (links, paths, commands, units, settings, identifiers)
