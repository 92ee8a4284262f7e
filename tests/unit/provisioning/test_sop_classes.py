"""SOP classes that a site can add to those that are taken (`policy.accepted_sop_classes`)."""

import pytest
import yaml

from hapacs import contract, sop_classes
from hapacs.settings import parse
from tests.unit.provisioning.conftest import LAB

PRIVATE, YOUNG = "1.2.840.113619.4.26", "1.2.840.10008.5.1.4.1.1.66.99"


@pytest.mark.parametrize("uid", [PRIVATE, YOUNG, "2.25.300200788435654268780283864367573459572"])
def test_private_and_new_classes_can_be_added(uid: str) -> None:
    assert sop_classes.problem(uid) == ""


@pytest.mark.parametrize(
    ("uid", "said"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", "CT Image Storage is taken already"),
        ("1.2.840.10008.5.1.4.1.1.66.7", "Label Map Segmentation Storage is taken already"),
        ("1.2.840.10008.5.1.4.38.1", "belongs to no study"),
        ("1.2.840.10008.1.3.10", "belongs to no study"),
        ("1.2.840.10008.1.20.1", "no storage class"),
        ("1.2.840.10008.1.2.1", "no storage class"),
        ("1.2.840.10008.5.1.4.1.2.2.1", "no storage class"),
        ("1.2.840.10008.77", "no storage class"),
        ("1.2.840.*", "is a UID"),
        ("*", "is a UID"),
        ("1.02.3", "is a UID"),
        ("CT", "is a UID"),
        ("1." + "2" * 63, "is a UID"),
    ],
)
def test_other_uids_are_refused_with_the_reason(uid: str, said: str) -> None:
    assert said in sop_classes.problem(uid)


def test_added_classes_are_in_the_contract() -> None:
    document = yaml.safe_load(LAB.read_text())
    document["sites"]["primary"].setdefault("policy", {})["accepted_sop_classes"] = [PRIVATE]
    policy = contract.policy(parse(document).sites["primary"])
    assert policy.accepted_sop_classes == (PRIVATE,)
