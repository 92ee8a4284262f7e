"""Checks over several rules: mistakes that no single field shows. Each is a path of keys and a message."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hapacs_node.routing.destination import DicomDestination
from hapacs_node.routing.model import Condition, Routing, Rule

_SINGLE = {
    *("calling_ae", "called_ae", "user"),
    *("Modality", "SOPClassUID", "Manufacturer", "InstitutionName", "BodyPartExamined"),
}


@dataclass(frozen=True)
class Mistake:
    """A mistake in the rules.

    Attributes
    ----------
    field : str
        The path of keys.
    message : str
        What is wrong and what to change.
    """

    field: str
    message: str


def mistakes(routing: Routing) -> Iterator[Mistake]:
    """Yield every mistake over several rules; each rule is sound by itself."""
    yield from names(routing)
    for index, rule in enumerate(routing.rules):
        yield from destinations(index, rule, routing)
        yield from contradictions(index, rule)
        yield from shadowed(index, rule, routing.rules[:index])


def names(routing: Routing) -> Iterator[Mistake]:
    """Yield rules that have the name of another one."""
    first: dict[str, int] = {}
    for index, rule in enumerate(routing.rules):
        if rule.name in first:
            yield Mistake(
                f"rules.{index}.name", f"{rule.name} is already the name of rules.{first[rule.name]}; give another one"
            )
        first.setdefault(rule.name, index)


def destinations(index: int, rule: Rule, routing: Routing) -> Iterator[Mistake]:
    """Yield destinations of a rule that do not exist, are named twice, or are the sender itself."""
    for number, name in enumerate(rule.destinations):
        field = f"rules.{index}.destinations.{number}"
        if name in rule.destinations[:number]:
            yield Mistake(field, f"{name} is named twice; name it once")
        destination = routing.destinations.get(name)
        if destination is None:
            known = ", ".join(routing.destinations) or "none"
            yield Mistake(field, f"there is no destination {name} (known: {known}); add it, or name another one")
            continue
        if isinstance(destination, DicomDestination) and any(_asks_only(one, destination) for one in rule.when):
            yield Mistake(
                field,
                f"{name} is {destination.ae_title}, the sender that the rule wants, so its images would go back to it; "
                "name another destination",
            )


def _asks_only(condition: Condition, destination: DicomDestination) -> bool:
    """Return whether the destination is the only sender that a condition allows."""
    return condition.attribute == "calling_ae" and _allowed(condition) == {destination.ae_title}


def contradictions(number: int, rule: Rule) -> Iterator[Mistake]:
    """Yield conditions of a rule that no image can satisfy together."""
    path = f"rules.{number}"
    for index, condition in enumerate(rule.when):
        if condition in rule.unless:
            yield Mistake(
                f"{path}.when.{index}",
                f"{condition.attribute} ({condition.wanted}) is also in unless, so no image matches; "
                "remove one of them",
            )
        for other in rule.when[:index]:
            if other.attribute == condition.attribute and _exclude(other, condition):
                yield Mistake(
                    f"{path}.when.{index}",
                    f"{condition.attribute} can't be {other.wanted} and {condition.wanted}, so no image "
                    "matches; change one of them",
                )


def _allowed(condition: Condition) -> set[str] | None:
    """Return the only values that a condition allows; None when it does not list them."""
    if condition.equals is not None:
        return {condition.equals}
    return None if condition.one_of is None else set(condition.one_of)


def _exclude(one: Condition, other: Condition) -> bool:
    """Return whether no single value can satisfy both. An attribute with several values may satisfy them apart.

    Only attributes that have one value by their nature are compared: those of the association, and any with a demand to
    be absent.
    """
    if False in {one.present, other.present}:
        return one.present is not other.present
    if one.attribute not in _SINGLE:
        return False
    allowed = [values for values in (_allowed(one), _allowed(other)) if values is not None]
    if len(allowed) == 2:  # noqa: PLR2004 - both list their values
        return not allowed[0] & allowed[1]
    patterns = [condition.matches for condition in (one, other) if condition.matches is not None]
    if allowed and patterns:
        return not any(re.fullmatch(patterns[0], value) for value in allowed[0])
    lows = [condition.at_least for condition in (one, other) if condition.at_least is not None]
    highs = [condition.at_most for condition in (one, other) if condition.at_most is not None]
    return bool(lows and highs) and max(lows) > min(highs)


def shadowed(index: int, rule: Rule, earlier: Sequence[Rule]) -> Iterator[Mistake]:
    """Yield a rule of which each image already goes to the same destinations by one of the rules before it."""
    for other in earlier:
        wider = set(other.when) <= set(rule.when) and set(other.unless) <= set(rule.unless)
        always = other.during in {None, rule.during}
        if wider and always and set(rule.destinations) <= set(other.destinations):
            yield Mistake(
                f"rules.{index}",
                f"{rule.name} has no effect: {other.name} before it matches every image that it matches, and names "
                "the same destinations; move it up, or remove it",
            )
            return
