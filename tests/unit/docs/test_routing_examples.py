"""The examples of routing are sound rules, and send what their page says."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from pydicom import Dataset

from hapacs_node.routing import match
from hapacs_node.routing.checks import mistakes
from hapacs_node.routing.match import Facts
from hapacs_node.routing.model import Routing

PAGE = (Path(__file__).parents[3] / "docs/operations/routing-examples.md").read_text()
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def routes(example: int, calling: str = "X", **attributes: str) -> dict[str, str]:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    facts = Facts(dataset, datetime(2026, 1, 1, tzinfo=UTC), {"calling_ae": calling})
    verdicts = match.verdicts(Routing.model_validate(EXAMPLES[example]), facts)
    return {name: rule.name for name, rule in match.routes(verdicts).items()}


@pytest.mark.parametrize("example", range(4))
def test_an_example_has_no_mistake(example: int) -> None:
    assert not list(mistakes(Routing.model_validate(EXAMPLES[example])))


def test_the_examples_send_what_their_page_says() -> None:
    assert len(EXAMPLES) == 4
    assert routes(0, "ER_CT1", Modality="CT") == {"workstation": "emergency"}
    assert routes(0, Modality="CT") == {"workstation": "all-ct"}
    assert routes(0, Modality="MR") == {}
    assert routes(1, InstitutionName="Branch North") == {"branch": "to-the-branch"}
    assert routes(2, BodyPartExamined="BRAIN") == {"research": "research-head"}
    assert routes(2, BodyPartExamined="BRAIN", BurnedInAnnotation="YES") == {}
    assert routes(3) == {"second": "nightly-copy"}
