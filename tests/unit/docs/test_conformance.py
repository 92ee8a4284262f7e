"""The conformance statement says what the code says.

After a change: ``UPDATE_GOLDEN=1 .venv/bin/pytest tests/unit/docs/test_conformance.py``.
"""

import os

from tests.unit.docs import conformance


def test_the_committed_statement_is_that_of_the_code() -> None:
    before = conformance.FILE.read_text()
    text = conformance.written(before)
    if os.environ.get("UPDATE_GOLDEN"):
        conformance.FILE.write_text(text)
    assert text == conformance.FILE.read_text(), "out of date: UPDATE_GOLDEN=1 .venv/bin/pytest tests/unit/docs"


def test_the_statement_has_every_table_once() -> None:
    marks = [line.split()[2] for line in conformance.FILE.read_text().splitlines() if line.startswith("<!-- table:")]
    assert sorted(marks) == sorted(conformance.TABLES)
