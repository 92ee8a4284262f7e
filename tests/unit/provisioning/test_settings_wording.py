"""Every error that the settings can raise has plain words: no type names, no patterns, and what to write instead."""

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic_core.core_schema import ErrorType

from hapacs.settings import Settings
from hapacs.settings.fields import SHAPES
from hapacs.settings.wording import WORDS
from tests.unit.provisioning.conftest import Data, Problems

P = "sites.primary"
# What each kind of schema of pydantic's core can raise, of values that YAML gives.
RAISED: dict[str, set[str]] = {
    "str": {"string_type", "string_unicode", "string_pattern_mismatch", "string_too_short", "string_too_long"},
    "bool": {"bool_type", "bool_parsing"},
    "int": {"int_type", "int_from_float", "int_parsing", "int_parsing_size"},
    "float": {"float_type", "float_parsing", "finite_number"},
    "literal": {"literal_error"},
    "dict": {"dict_type"},
    "tuple": {"tuple_type", "too_short"},
    "model": {"model_type", "model_attributes_type"},
    "model-fields": {"model_type", "model_attributes_type", "missing", "extra_forbidden", "invalid_key"},
    "tagged-union": {"union_tag_invalid", "union_tag_not_found"},
    "is-instance": {"is_instance_of"},
    "function-before": {"value_error"},
    "function-after": {"value_error"},
    "function-wrap": {"value_error"},
    # Such as the address and the network of `ipaddress`.
    "function-plain": {"value_error", "ip_v4_address", "ip_v4_network"},
    # Only sizes: all that is wrong inside is one error of theirs.
    "union": {"byte_size", "byte_size_unit"},
    # They only hold others.
    "nullable": set(),
    "default": set(),
    "chain": set(),
    "lax-or-strict": set(),
    "json-or-python": set(),
    "model-field": set(),
    "definitions": set(),
    "definition-ref": set(),
}
CONSTRAINTS = {"ge": "greater_than_equal", "gt": "greater_than", "le": "less_than_equal", "lt": "less_than"}


def schemas(node: Any) -> Iterator[dict[str, Any]]:
    """Yield each schema inside a schema of pydantic's core."""
    if isinstance(node, dict):
        if isinstance(node.get("type"), str) and node["type"] not in {"with-info", "no-info"}:
            yield node
        if node.get("custom_error_type"):
            return
        for key, inner in node.items():
            if key not in {"serialization", "metadata", "config"}:
                yield from schemas(inner)
    elif isinstance(node, list | tuple):
        for inner in node:
            yield from schemas(inner)


FOUND = list(schemas(Settings.__pydantic_core_schema__))


def test_every_kind_of_schema_is_known_here() -> None:
    assert {schema["type"] for schema in FOUND} <= set(RAISED)


def test_every_error_that_the_settings_can_raise_has_words() -> None:
    raised = {error for schema in FOUND for error in RAISED[schema["type"]]}
    raised |= {CONSTRAINTS[key] for schema in FOUND for key in schema if key in CONSTRAINTS}
    assert raised - {"extra_forbidden"} <= set(WORDS)


def test_every_pattern_has_words() -> None:
    patterns = {schema["pattern"] for schema in FOUND if schema.get("pattern")}
    assert patterns
    assert patterns <= set(SHAPES)


def test_words_are_for_errors_that_pydantic_has() -> None:
    assert set(WORDS) <= {*get_args(ErrorType)} | {"byte_size", "byte_size_unit", "ip_v4_address", "ip_v4_network"}


@pytest.mark.parametrize("kind", WORDS)
def test_no_words_are_pydantics(kind: str) -> None:
    assert not re.search(r"Input|should|instance|valid |pattern|dictionary|tuple|[a-z]_[a-z]", WORDS[kind])


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("deployment", 7, "YAML reads 7 as a number; write it in quotes"),
        ("deployment", True, "YAML reads True as yes or no; write it in quotes"),
        ("deployment", ["lab"], "write one value here, not a list and not keys"),
        ("sites", "primary", "write keys with values here, one a line, such as `role: primary`"),
        (f"{P}", "primary", "write keys with values here, one a line, such as `role: primary`"),
        (f"{P}.role", None, "is empty; give a value"),
        (f"{P}.role", "main", "'main' is not known; write one of primary, dr"),
        (
            f"{P}.networks.clients",
            "10.89.77.0/24",
            "write a list here: in [brackets], or one line with a dash for each value",
        ),
        (f"{P}.vip.router_id", "77", "'77' is no whole number; write one, without quotes"),
        (f"{P}.vip.router_id", 7.5, "7.5 is no whole number; write one, without quotes"),
        (f"{P}.vip.router_id", 0, "0 is too small; write at least 1"),
        (f"{P}.policy.das_watermark_fraction", "most", "'most' is no number; write one, without quotes"),
        (f"{P}.policy.das_watermark_fraction", 0, "0 is too small; write more than 0.0"),
        (f"{P}.policy.retention_day", 1, "there is no such setting; did you mean retention_days?"),
        (f"{P}.colour", "red", "there is no such setting; remove it"),
        ("callers.0.ae_titel", "CT", "there is no such setting; did you mean ae_title?"),
        ("callers.0.host", "ct1", "'ct1' is no IPv4 address; write one, such as 192.0.2.10"),
    ],
)
def test_messages_say_what_to_write(data: Data, problems: Problems, field: str, value: object, said: str) -> None:
    *path, last = field.split(".")
    place: Any = data
    for key in path:
        place = place[int(key)] if isinstance(place, list) else place[key]
    place[last] = value
    assert problems(data)[field] == said


def test_long_values_are_cut(data: Data, problems: Problems) -> None:
    data["deployment"] = "x" * 1000
    assert len(problems(data)["deployment"]) < 250
