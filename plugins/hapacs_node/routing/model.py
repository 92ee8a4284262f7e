"""The rules of a site: destinations, and which images go to them. Nothing in the model is evaluated as code."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from hapacs_node.routing.destination import Destination
from hapacs_node.routing.fields import AttributeName, ChangedName, Finite, Name, Part, Quiet, Regex, Title, Window

Priority = Literal["urgent", "normal", "bulk"]
LANES: dict[Priority, int] = {"urgent": 0, "normal": 1, "bulk": 2}
Each = Literal["instance", "series", "study"]
Same = Literal["modality", "body_part"]
KIND = "route"
"""The kind of tasks that rules make."""


class Condition(Part):
    """What one attribute must be. Of several values of an attribute one is enough.

    Attributes
    ----------
    attribute
        A keyword (``Modality``), a tag (``0008,0060``), a private tag with its creator (``0009,CREATOR,01``),
        ``calling_ae``, ``called_ae`` or ``user``.
    equals, one_of
        The value, or the values.
    matches
        A regular expression for the whole value.
    at_least, at_most
        Limits of a number.
    present
        Whether the attribute has a value.
    """

    attribute: AttributeName
    equals: str | None = None
    one_of: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    matches: Regex | None = None
    at_least: Finite | None = None
    at_most: Finite | None = None
    present: bool | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.demands != 1:
            raise ValueError("give exactly one of equals, one_of, matches, present, or a range by at_least and at_most")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least:g} is more than at_most {self.at_most:g}, so nothing matches")
        return self

    @property
    def demands(self) -> int:
        """How many kinds of demands it has; a sound one has one."""
        ranged = self.at_least is not None or self.at_most is not None
        given = [self.equals is not None, self.one_of is not None, self.matches is not None, ranged]
        return sum([*given, self.present is not None])

    @property
    def wanted(self) -> str:
        """What the condition wants, in words."""
        if self.equals is not None:
            return f"equals {self.equals!r}"
        if self.one_of is not None:
            return f"one of {', '.join(map(repr, self.one_of))}"
        if self.matches is not None:
            return f"matches {self.matches!r}"
        if self.present is not None:
            return "present" if self.present else "absent or empty"
        limits = [
            f"at least {self.at_least:g}" if self.at_least is not None else "",
            f"at most {self.at_most:g}" if self.at_most is not None else "",
        ]
        return " and ".join(limit for limit in limits if limit)


Value = Annotated[str, StringConstraints(max_length=1024)]
"""A value that a change writes."""


class Change(Part):
    """A change of one attribute in the copy that leaves. What is stored never changes.

    Attributes
    ----------
    attribute
        A keyword or a tag. UIDs of the image and its pixel data can't be changed.
    replace
        The new value; the attribute is added where it is missing.
    add
        The value where the attribute is missing or empty.
    prefix
        Text before each present value.
    map
        New values by the present ones, each a whole value; a value that is not listed stays.
    remove
        Removes the attribute.
    """

    attribute: ChangedName
    replace: Value | None = None
    add: Value | None = None
    prefix: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    map: Annotated[dict[Value, Value], Field(min_length=1, max_length=1000)] | None = None
    remove: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [one is not None for one in (self.replace, self.add, self.prefix, self.map)]
        if sum([*given, self.remove]) != 1:
            raise ValueError("give exactly one of replace, add, prefix, map and remove")
        return self


class Rule(Part):
    """Images that match every condition of `when` and none of `unless` go to all destinations.

    Attributes
    ----------
    name
        For commands and records.
    when, unless
        Conditions. Without any, every image matches.
    during
        Matches only images that were stored in this window, in UTC.
    destinations
        Names of destinations.
    each
        ``instance`` sends every image when it comes, ``series`` and ``study`` when its series or study is complete: no
        image came for the quiet time. Images that come later are sent after the next quiet time.
    priority
        ``urgent`` is sent before ``normal``, and that before ``bulk``.
    delay_s
        Time between storing and sending.
    only_if_absent
        Asks the destination before each attempt, and sends only images that it does not list.
    change
        Changes of the copy that leaves.
    """

    name: Name
    when: tuple[Condition, ...] = ()
    unless: tuple[Condition, ...] = ()
    during: Window | None = None
    destinations: Annotated[tuple[Name, ...], Field(min_length=1)]
    each: Each = "instance"
    priority: Priority = "normal"
    delay_s: Annotated[int, Field(strict=True, ge=0, le=2592000)] = 0
    only_if_absent: bool = False
    change: tuple[Change, ...] = ()


class Prefetch(Part):
    """When the first image of a study comes, the newest priors of its patient are brought to the online copies.

    Attributes
    ----------
    name
        For records.
    when, unless
        Conditions on the image of the new study, as those of a rule.
    same
        What a prior has in common with the new study, in one of its series: ``modality``, ``body_part``, or one of the
        two.
    newest
        How many studies at most, the newest first.
    destinations
        Names of destinations that get those images of the priors that they do not have.
    priority
        As that of a rule.
    """

    name: Name
    when: tuple[Condition, ...] = ()
    unless: tuple[Condition, ...] = ()
    same: Annotated[tuple[Same, ...], Field(min_length=1)] = ("modality", "body_part")
    newest: Annotated[int, Field(strict=True, ge=1, le=50)] = 3
    destinations: tuple[Name, ...] = ()
    priority: Priority = "normal"


class Routing(Part):
    """The destinations of a site, and the rules.

    Attributes
    ----------
    destinations
        By name.
    rules
        All that match apply. An image goes to a destination once: by the first rule that names it.
    prefetch
        Priors that are wanted when a new study comes.
    series_quiet_s, study_quiet_s
        Time without an image after which a series or study is complete.
    complete_by_commitment
        AE titles of callers whose request for storage commitment ends a study or series at once, when it names all of
        its images. Not for callers that ask after each image or series, when a rule waits for the study.
    """

    destinations: Mapping[Name, Destination] = {}
    rules: tuple[Rule, ...] = ()
    prefetch: tuple[Prefetch, ...] = ()
    series_quiet_s: Quiet = 60
    study_quiet_s: Quiet = 300
    complete_by_commitment: tuple[Title, ...] = ()
