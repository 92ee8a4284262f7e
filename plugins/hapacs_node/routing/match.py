"""Compares an image with the rules, and says for each rule why it matches or not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from hapacs_node.routing import attributes, window
from hapacs_node.routing.model import Condition, Routing, Rule

if TYPE_CHECKING:
    from pydicom import Dataset

# A regular expression sees no more of a value.
_MOST_CHARACTERS = 1024


@dataclass(frozen=True)
class Facts:
    """What is known of a stored image.

    Attributes
    ----------
    dataset : Dataset
        The image, at least with the attributes that the rules name.
    stored_at : datetime
        UTC.
    association : mapping
        The properties `attributes.ASSOCIATION` that are known.
    """

    dataset: Dataset
    stored_at: datetime
    association: Mapping[str, str] = field(default_factory=dict)

    def values(self, name: str) -> tuple[str, ...]:
        """Return the values of an attribute; none when it is absent or empty."""
        attribute = attributes.parse(name)
        if attribute.tag is None:
            known = self.association.get(name)
            return (known,) if known else ()
        return tuple(value for value in attributes.values(self.dataset, attribute) or () if value)


@dataclass(frozen=True)
class Verdict:
    """Whether a rule matches an image, and why.

    Attributes
    ----------
    rule : Rule
        The rule.
    matches : bool
        Whether it matches.
    reasons : tuple of str
        Each condition in words; of a rule that does not match only what fails.
    """

    rule: Rule
    matches: bool
    reasons: tuple[str, ...]


def verdicts(routing: Routing, facts: Facts) -> list[Verdict]:
    """Return the verdict of every rule, in their order."""
    return [_verdict(rule, facts) for rule in routing.rules]


def routes(found: Sequence[Verdict]) -> dict[str, Rule]:
    """Return where an image goes, and by which rule: the first that names the destination."""
    wanted: dict[str, Rule] = {}
    for verdict in found:
        if verdict.matches:
            for destination in verdict.rule.destinations:
                wanted.setdefault(destination, verdict.rule)
    return wanted


def _verdict(rule: Rule, facts: Facts) -> Verdict:
    checked = [(holds(condition, facts), _words(condition, facts)) for condition in rule.when]
    checked += [(False, f"unless: {_words(condition, facts)}") for condition in rule.unless if holds(condition, facts)]
    if rule.during is not None:
        inside = window.is_open(rule.during, facts.stored_at)
        checked.append((inside, f"stored at {facts.stored_at:%a %H:%M} UTC, during {rule.during}"))
    failing = [words for good, words in checked if not good]
    holding = [words for good, words in checked if good]
    return Verdict(rule, not failing, tuple(failing or holding or ["the rule has no condition"]))


def holds(condition: Condition, facts: Facts) -> bool:
    """Return whether one value of the attribute is as the condition says."""
    found = facts.values(condition.attribute)
    if condition.present is not None:
        return bool(found) == condition.present
    return any(_fits(condition, value) for value in found)


def _fits(condition: Condition, value: str) -> bool:
    if condition.equals is not None:
        return value == condition.equals
    if condition.one_of is not None:
        return value in condition.one_of
    if condition.matches is not None:
        return re.fullmatch(condition.matches, value[:_MOST_CHARACTERS]) is not None
    try:
        number = float(value)
    except ValueError:
        return False
    low = condition.at_least is None or number >= condition.at_least
    return low and (condition.at_most is None or number <= condition.at_most)


def _words(condition: Condition, facts: Facts) -> str:
    found = facts.values(condition.attribute)
    has = f"is {', '.join(map(repr, found))}" if found else "is absent or empty"
    return f"{condition.attribute} {has}; wanted: {condition.wanted}"
