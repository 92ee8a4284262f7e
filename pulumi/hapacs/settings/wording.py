"""Plain words for what pydantic refuses: no type names, no patterns, and always what to write instead."""

import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from hapacs.settings.fields import SHAPES
from hapacs.settings.models import Settings
from hapacs.settings.partial import similar
from hapacs.settings.problem import Problem

_LONGEST_SHOWN = 60
_KEYS = "write keys with values here, one a line, such as `role: primary`"
_NUMBER = "{value} is no number; write one, without quotes"
_WHOLE_NUMBER = "{value} is no whole number; write one, without quotes"
_YES_OR_NO = "{value} is neither true nor false; write one of them, without quotes"
_SIZE = "{value} is no size; write a number and a unit and nothing else, such as 16TiB"
_TEXT = "YAML doesn't read {value} as text; write it in quotes"

WORDS: Mapping[str, str] = {
    "missing": "is missing; add it",
    "string_type": _TEXT,
    "string_unicode": _TEXT,
    "string_pattern_mismatch": "{value} can't be used; {shape}",
    "string_too_short": "is empty; give a value",
    "string_too_long": "{value} is too long; write at most {bound} characters",
    "bool_type": _YES_OR_NO,
    "bool_parsing": _YES_OR_NO,
    "int_type": _WHOLE_NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "int_parsing": _WHOLE_NUMBER,
    "int_parsing_size": "the number is too large; write a smaller one",
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "greater_than": "{value} is too small; write more than {bound}",
    "greater_than_equal": "{value} is too small; write at least {bound}",
    "less_than": "{value} is too large; write less than {bound}",
    "less_than_equal": "{value} is too large; write at most {bound}",
    "literal_error": "{value} is not known; write one of {choices}",
    "union_tag_invalid": "the kind is not known; write one of {choices}",
    "union_tag_not_found": "the kind is missing; write `kind: lab` or `kind: static`",
    "too_short": "is empty; give at least one",
    "tuple_type": "write a list here: in [brackets], or one line with a dash for each value",
    "dict_type": _KEYS,
    "mapping_type": _KEYS,
    "model_type": _KEYS,
    "model_attributes_type": _KEYS,
    "is_instance_of": _KEYS,
    "invalid_key": "the key {value} is no text; write it in quotes",
    "ip_v4_address": "{value} is no IPv4 address; write one, such as 192.0.2.10",
    "ip_v4_network": "{value} is no IPv4 network; write one with its mask, such as 192.0.2.0/24",
    "byte_size": _SIZE,
    "byte_size_unit": _SIZE,
    "value_error": "{error}",
}
"""Messages by pydantic's type of error; `test_settings_wording` looks at every type that the settings can raise."""

_OF_NOTHING = "is empty; give a value"
_OF_SEVERAL = "write one value here, not a list and not keys"
_OF_KINDS = (("target",), ("sites", "*", "routing", "destinations", "*"))
_SCALARS = frozenset(
    {"string_type", "int_type", "float_type", "bool_type", "literal_error", "ip_v4_address", "ip_v4_network"}
)


def is_echo(item: ErrorDetails) -> bool:
    """Say whether pydantic takes a list for empty only because its values are refused; they are reported already."""
    return item["type"] == "too_short" and bool(item["input"])


def plain(item: ErrorDetails) -> Problem:
    """Return an error of pydantic as a problem: the path of keys as the file has it, and a message in plain words."""
    location = [part for part in item["loc"] if part != "[key]"]
    # pydantic puts the kind of a target or destination into the path, but it is no key of the file.
    for place in _OF_KINDS:
        if len(location) > len(place) and all(key in {"*", part} for key, part in zip(place, location, strict=False)):
            del location[len(place)]
    message = _unknown(location) if item["type"] == "extra_forbidden" else _message(item)
    return Problem(".".join(map(_key, location)), message)


def _key(part: str | int) -> str:
    """Return a key as people see it, also an empty one and one that would break the line."""
    return text if (text := str(part)) and text.isprintable() and text.strip() else repr(part)


def _message(item: ErrorDetails) -> str:
    kind, value, context = item["type"], item["input"], item.get("ctx", {})
    if kind in _SCALARS and value is None:
        return _OF_NOTHING
    if kind in _SCALARS and isinstance(value, list | dict | set):
        return _OF_SEVERAL
    return WORDS[kind].format(
        value=_shown(value),
        bound=next((context[key] for key in ("ge", "gt", "le", "lt", "max_length") if key in context), ""),
        choices=", ".join(re.findall(r"'([^']*)'", context.get("expected") or context.get("expected_tags") or "")),
        shape=SHAPES.get(context.get("pattern", ""), ""),
        error=context.get("error", ""),
    )


def _shown(value: object) -> str:
    """Return a value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _unknown(location: list[str | int]) -> str:
    meant = similar(location[-1], _keys(location[:-1]))
    return f"there is no such setting; {f'did you mean {meant}?' if meant else 'remove it'}"


def _keys(location: list[str | int]) -> list[str]:
    """Return the keys that the settings have at a place."""
    models: list[type[BaseModel]] = [Settings]
    for part in location:
        inner = [found for model in models for found in _models(model.model_fields.get(str(part)))]
        # The name of a site or node, or the number of a caller, leads to no other model.
        models = inner or models
    return [name for model in models for name in model.model_fields]


def _models(wanted: Any) -> list[type[BaseModel]]:
    """Return the models that a field's type holds."""
    wanted = getattr(wanted, "annotation", wanted)
    if isinstance(wanted, type) and issubclass(wanted, BaseModel):
        return [wanted]
    return [model for part in get_args(wanted) for model in _models(part)]
