"""Writes the reference of destinations and rules from their models."""

import inspect
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from pydantic import BaseModel

from hapacs_node.routing.destination import DicomDestination, FolderDestination, S3Destination, WebDestination
from hapacs_node.routing.fields import SHAPES
from hapacs_node.routing.model import Change, Condition, Prefetch, Routing, Rule

_PARTS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("`sites.NAME.routing`", Routing),
    ("An entry of `rules`", Rule),
    ("An entry of `prefetch`", Prefetch),
    ("An entry of `when` or `unless`", Condition),
    ("An entry of `change`", Change),
    ("A destination of the kind `dicom`", DicomDestination),
    ("A destination of the kind `dicomweb`", WebDestination),
    ("A destination of the kind `folder`", FolderDestination),
    ("A destination of the kind `s3`", S3Destination),
)
_HEAD = """# Reference of destinations and rules

Every key under `routing` of a site, from the models in `plugins/hapacs_node/routing`. A key without a default has
to be given. How they are used is in [routing](routing.md).
"""
_WORDS = {
    "array": "a list", "boolean": "true or false", "integer": "a whole number", "number": "a number",
    "object": "keys with values", "string": "text",
}  # fmt: skip


def reference() -> str:
    """Return the document."""
    return "\n".join([_HEAD, *(_part(title, model) for title, model in _PARTS)])


def _part(title: str, model: type[BaseModel]) -> str:
    schema = model.model_json_schema()
    said = dict(_described(model))
    rows = [
        f"| `{key}` | {_cell(said[key])} | {_cell(_value(one))} | {_default(model, key)} |"
        for key, one in schema["properties"].items()
    ]
    lead = _cell(inspect.getdoc(model) or "").partition(" Attributes ----------")[0]
    return "\n".join([f"## {title}", "", lead, "", "| key | | value | default |", "|---|---|---|---|", *rows, ""])


def _described(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Yield the keys of a model and what its docstring, and those of its bases, say about them."""
    for base in reversed(model.__mro__):
        text = (inspect.getdoc(base) if "__doc__" in vars(base) else "") or ""
        body = text.partition("Attributes\n----------\n")[2]
        heads = [*re.finditer(r"^(\w[\w, ]*)$", body, re.MULTILINE)]
        for head, following in pairwise([*heads, None]):
            assert head is not None
            said = body[head.end() : following.start() if following else None]
            for key in head[1].split(", "):
                yield key, said


def _value(one: dict[str, Any]) -> str:
    """Return in words which values a key takes; empty for models, which have a part of their own."""
    if "anyOf" in one:
        return " or ".join(_value(kind) for kind in one["anyOf"] if kind.get("type") != "null")
    if choices := one.get("enum", [one["const"]] if "const" in one else []):
        return ", ".join(f"`{choice}`" for choice in choices)
    if one.get("pattern") in SHAPES:
        return re.sub(r"^write ", "", SHAPES[one["pattern"]])
    return f"{_WORDS.get(one.get('type', ''), '')}{_inner(one)}{_limits(one)}"


def _inner(one: dict[str, Any]) -> str:
    inner = _value(one["items"]) if "items" in one else ""
    return f" of: {inner}" if inner else ""


def _limits(one: dict[str, Any]) -> str:
    low = one.get("minimum", f"more than {one['exclusiveMinimum']}" if "exclusiveMinimum" in one else None)
    return "" if low is None else f", {low} to {one['maximum']}"


def _default(model: type[BaseModel], key: str) -> str:
    field = model.model_fields[key]
    if field.is_required() or field.default is None or field.default in ((), {}):
        return "" if field.is_required() else "not given"
    default = str(field.default).lower() if isinstance(field.default, bool) else field.default
    return f"`{default}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")
