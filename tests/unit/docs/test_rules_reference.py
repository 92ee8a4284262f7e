"""The reference of rules is what the models say.

After a change of a model: ``UPDATE_GOLDEN=1 .venv/bin/pytest tests/unit/docs/test_rules_reference.py``.
"""

import os
from pathlib import Path

from tests.unit.docs import rules

FILE = Path(__file__).parents[3] / "docs/operations/routing-reference.md"


def test_the_committed_reference_is_that_of_the_models() -> None:
    text = rules.reference()
    if os.environ.get("UPDATE_GOLDEN"):
        FILE.write_text(text)
    assert text == FILE.read_text(), "out of date: UPDATE_GOLDEN=1 .venv/bin/pytest tests/unit/docs"


def test_every_key_has_a_description() -> None:
    assert "|  |" not in rules.reference().replace("|  |\n", "")
