"""Checks over several rules: mistakes that no single field shows. Each is a path of keys and a message."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from hapacs_node.routing import match, window
from hapacs_node.routing.destination import DicomDestination
from hapacs_node.routing.match import Facts
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
    yield from prefetches(routing)
    for index, rule in enumerate(routing.rules):
        yield from destinations(index, rule, routing)
        yield from contradictions(index, rule)
        yield from shadowed(index, rule, routing.rules[:index])
        yield from overlapping(index, rule, routing.rules[:index])


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
    """Yield destinations of a rule that do not exist, are named twice, are the sender itself, or can't be asked."""
    for number, name in enumerate(rule.destinations):
        field = f"rules.{index}.destinations.{number}"
        if name in rule.destinations[:number]:
            yield Mistake(field, f"{name} is named twice; name it once")
        destination = routing.destinations.get(name)
        if destination is None:
            known = ", ".join(routing.destinations) or "none"
            yield Mistake(field, f"there is no destination {name} (known: {known}); add it, or name another one")
            continue
        if isinstance(destination, DicomDestination) and _wants(rule, destination.ae_title):
            yield Mistake(
                field,
                f"{name} is {destination.ae_title}, a sender that the rule wants, so its images would go back to it; "
                "name another destination, or remove the sender",
            )
        if rule.only_if_absent and isinstance(destination, DicomDestination) and destination.query_title is None:
            yield Mistake(
                field,
                f"{name} can't be asked what it has, which only_if_absent of the rule needs; give it query_ae, the "
                "title that answers a C-FIND, or remove only_if_absent",
            )


def prefetches(routing: Routing) -> Iterator[Mistake]:
    """Yield priors that can't be sent: to a destination that does not exist, or that can't be asked what it has."""
    for index, wanted in enumerate(routing.prefetch):
        if wanted.name in [other.name for other in routing.prefetch[:index]]:
            yield Mistake(f"prefetch.{index}.name", f"{wanted.name} is named twice; give another name")
        for number, name in enumerate(wanted.destinations):
            field = f"prefetch.{index}.destinations.{number}"
            destination = routing.destinations.get(name)
            if destination is None:
                known = ", ".join(routing.destinations) or "none"
                yield Mistake(field, f"there is no destination {name} (known: {known}); add it, or name another one")
            elif isinstance(destination, DicomDestination) and destination.query_title is None:
                yield Mistake(
                    field,
                    f"{name} can't be asked what it has, and priors are sent only to who lacks them; give it query_ae, "
                    "the title that answers a C-FIND",
                )


def _wants(rule: Rule, title: str) -> bool:
    """Return whether a rule names a sender, and takes its images."""
    named = any(one.attribute == "calling_ae" and title in (_allowed(one) or ()) for one in rule.when)
    return named and takes_from(rule, title)


def takes_from(rule: Rule, title: str) -> bool:
    """Return whether images that a title sends can match a rule, as far as its conditions on the title say."""
    # Slow to import, and settings without rules do without it.
    from pydicom import Dataset  # noqa: PLC0415

    facts = Facts(Dataset(), datetime.now(UTC), {"calling_ae": title})

    def holds(conditions: Sequence[Condition]) -> list[bool]:
        return [match.holds(one, facts) for one in conditions if one.attribute == "calling_ae"]

    return all(holds(rule.when)) and not any(holds(rule.unless))


def contradictions(number: int, rule: Rule) -> Iterator[Mistake]:
    """Yield conditions of a rule that no image can satisfy together."""
    path = f"rules.{number}"
    for index, condition in enumerate(rule.when):
        for excluding in [other for other in rule.unless if _implies(condition, other)][:1]:
            also = "also" if excluding == condition else f"excluded by {excluding.wanted}"
            yield Mistake(
                f"{path}.when.{index}",
                f"{condition.attribute} ({condition.wanted}) is {also} in unless, so no image matches; "
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


def _implies(narrow: Condition, wide: Condition) -> bool:
    """Return whether an attribute that is as one condition says is always as another one says too.

    False where it can't be told. The value that satisfies the first one satisfies the second one, so it also holds for
    attributes with several values.
    """
    if narrow.attribute != wide.attribute or narrow.demands != 1:
        return False
    if narrow == wide or (wide.present and narrow.present is not False):
        return True
    allowed, wider = _allowed(narrow), _allowed(wide)
    if allowed is not None and wider is not None:
        return allowed <= wider
    if allowed is not None and wide.matches is not None:
        return all(re.fullmatch(wide.matches, value) for value in allowed)
    return _ranged(narrow) and _ranged(wide) and _within(narrow, wide)


def _ranged(condition: Condition) -> bool:
    return condition.at_least is not None or condition.at_most is not None


def _within(narrow: Condition, wide: Condition) -> bool:
    low = wide.at_least is None or (narrow.at_least is not None and narrow.at_least >= wide.at_least)
    return low and (wide.at_most is None or (narrow.at_most is not None and narrow.at_most <= wide.at_most))


def shadowed(index: int, rule: Rule, earlier: Sequence[Rule]) -> Iterator[Mistake]:
    """Yield a rule of which each image already goes to the same destinations by one of the rules before it."""
    for other in earlier:
        wider = all(any(_implies(own, one) for own in rule.when) for one in other.when)
        excludes = all(any(_implies(one, own) for own in rule.unless) for one in other.unless)
        always = _minutes(rule) <= _minutes(other)
        if wider and excludes and always and set(rule.destinations) <= set(other.destinations):
            yield Mistake(
                f"rules.{index}",
                f"{rule.name} has no effect: {other.name} before it matches every image that it matches, and names "
                "the same destinations; move it up, or remove it",
            )
            return


def overlapping(index: int, rule: Rule, earlier: Sequence[Rule]) -> Iterator[Mistake]:
    """Yield a rule whose window overlaps in part with that of an equal one before it, which gets these images.

    A window inside of the other one is an exception that somebody means, or `shadowed`.
    """
    for other in earlier:
        equal = set(rule.when) == set(other.when) and set(rule.unless) == set(other.unless)
        shared = [name for name in rule.destinations if name in other.destinations]
        own, theirs = _minutes(rule), _minutes(other)
        if equal and shared and own & theirs and own - theirs and theirs - own:
            yield Mistake(
                f"rules.{index}.during",
                f"{rule.during} overlaps with {other.during} of {other.name}, which matches the same images and gets "
                f"those of both for {', '.join(shared)}; let one begin when the other ends",
            )
            return


def _minutes(rule: Rule) -> frozenset[int]:
    return window.minutes(rule.during)
