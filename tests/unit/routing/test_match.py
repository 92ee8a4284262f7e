"""Which images a rule matches, and the reasons that it gives."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.sequence import Sequence

from hapacs_node.routing.match import Facts, routes, verdicts
from hapacs_node.routing.model import Condition, Routing, Rule

MONDAY_NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def image() -> Dataset:
    dataset = Dataset()
    dataset.Modality, dataset.BodyPartExamined, dataset.PatientID = "CT", "HEAD", "P-17"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SliceThickness, dataset.SeriesNumber = "2.5", 3
    dataset.InstitutionName = ""
    dataset.private_block(0x0009, "VENDOR", create=True).add_new(0x01, "LO", "trauma")
    dataset.RequestAttributesSequence = Sequence([Dataset()])
    return dataset


def facts(**association: str) -> Facts:
    return Facts(image(), MONDAY_NOON, association)


def matches(given: Facts | None = None, **condition: Any) -> bool:
    rule = Rule.model_validate({"name": "r", "destinations": ["d"], "when": [condition]})
    [verdict] = verdicts(Routing(rules=(rule,)), given or facts())
    assert verdict.reasons
    return verdict.matches


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"attribute": "Modality", "equals": "CT"}, True),
        ({"attribute": "Modality", "equals": "C"}, False),
        ({"attribute": "0008,0060", "equals": "CT"}, True),
        ({"attribute": "Modality", "one_of": ["MR", "CT"]}, True),
        ({"attribute": "Modality", "one_of": ["MR", "US"]}, False),
        ({"attribute": "PatientID", "matches": "P-[0-9]+"}, True),
        ({"attribute": "PatientID", "matches": "P"}, False),
        ({"attribute": "ImageType", "equals": "AXIAL"}, True),
        ({"attribute": "ImageType", "equals": "LOCALIZER"}, False),
        ({"attribute": "SliceThickness", "at_least": 2, "at_most": 3}, True),
        ({"attribute": "SliceThickness", "at_most": 2.4}, False),
        ({"attribute": "SeriesNumber", "equals": "3"}, True),
        ({"attribute": "Modality", "at_least": 0}, False),
        ({"attribute": "InstitutionName", "present": False}, True),
        ({"attribute": "InstitutionName", "present": True}, False),
        ({"attribute": "StudyDescription", "equals": ""}, False),
        ({"attribute": "0009,VENDOR,01", "equals": "trauma"}, True),
        ({"attribute": "0009,OTHER,01", "equals": "trauma"}, False),
        ({"attribute": "RequestAttributesSequence", "equals": ""}, False),
    ],
)
def test_a_condition_compares_the_value_of_the_attribute(condition: dict[str, Any], expected: bool) -> None:
    assert matches(**condition) is expected


def test_properties_of_the_association_are_no_attributes_of_the_image() -> None:
    assert matches(facts(calling_ae="ER_CT"), attribute="calling_ae", equals="ER_CT")
    assert not matches(facts(called_ae="ER_CT"), attribute="calling_ae", equals="ER_CT")
    assert not matches(facts(), attribute="user", present=True)


@settings(deadline=None)
@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=16))
def test_an_escaped_value_as_regex_is_the_same_as_equals(value: str) -> None:
    given_ = facts(calling_ae="CT.1")
    same = matches(given_, attribute="calling_ae", equals=value)
    assert matches(given_, attribute="calling_ae", matches=re.escape(value)) is same


def test_a_failing_rule_names_only_what_fails() -> None:
    rule = Rule.model_validate(
        {
            "name": "r",
            "destinations": ["d"],
            "when": [{"attribute": "Modality", "equals": "CT"}, {"attribute": "BodyPartExamined", "equals": "KNEE"}],
            "unless": [{"attribute": "PatientID", "present": True}],
            "during": "Tue 10:00-14:00",
        }
    )
    [verdict] = verdicts(Routing(rules=(rule,)), facts())
    assert verdict.reasons == (
        "BodyPartExamined is 'HEAD'; wanted: equals 'KNEE'",
        "unless: PatientID is 'P-17'; wanted: present",
        "stored at Mon 12:00 UTC, during Tue 10:00-14:00",
    )


NAMES = st.sampled_from(["a", "b", "c"])


@st.composite
def rulesets(draw: st.DrawFn) -> Routing:
    """Draw rules that match CT, MR or everything."""
    rules = []
    for index in range(draw(st.integers(0, 6))):
        modality = draw(st.sampled_from(["CT", "MR", None]))
        when = () if modality is None else (Condition(attribute="Modality", equals=modality),)
        destinations = tuple(draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)))
        rules.append(Rule(name=f"r{index}", when=when, destinations=destinations))
    return Routing(rules=tuple(rules))


@settings(deadline=None)
@given(rulesets())
def test_an_image_goes_to_each_destination_once_by_the_first_rule_that_names_it(routing: Routing) -> None:
    found = verdicts(routing, facts())
    wanted = routes(found)
    for destination in ("a", "b", "c"):
        naming = [one.rule for one in found if one.matches and destination in one.rule.destinations]
        assert wanted.get(destination) == (naming[0] if naming else None)
