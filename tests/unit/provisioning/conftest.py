"""Settings to start from: the lab's own, as data that a test may change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hapacs.settings import SettingsError, parse

type Data = dict[str, Any]
"""Settings as YAML gives them, for a test to change."""

type Problems = Callable[[Any], dict[str, str]]
"""From settings to the messages by field; empty when the settings are sound."""

LAB = Path(__file__).parents[3] / "inventories/lab/settings.yaml"
HOSPITAL = LAB.parents[1] / "example-hospital/settings.yaml"


@pytest.fixture
def hospital() -> Data:
    """The settings of the example hospital as plain data: two sites on machines that exist."""
    data: Data = yaml.safe_load(HOSPITAL.read_text())
    return data


@pytest.fixture
def with_dr() -> Data:
    """The lab's settings as plain data, with both sites."""
    found: Data = yaml.safe_load(LAB.read_text())
    return found


@pytest.fixture
def data(with_dr: Data) -> Data:
    """The lab's settings with its primary site alone."""
    del (
        with_dr["sites"]["dr"],
        with_dr["sites"]["primary"]["backup"],
        with_dr["sites"]["primary"]["policy"]["replicate"],
    )
    for caller in with_dr["callers"]:
        caller["networks"].remove("10.89.76.1/32")
    return with_dr


@pytest.fixture
def primary(data: Data) -> Data:
    found: Data = data["sites"]["primary"]
    return found


@pytest.fixture
def problems() -> Problems:
    """Return a function from data to its problems: {field: message}, empty when the settings are sound."""

    def find(data: Any) -> dict[str, str]:
        try:
            parse(data)
        except SettingsError as error:
            return {problem.field: problem.message for problem in error.problems}
        return {}

    return find


@pytest.fixture
def pulumi(tmp_path: Path) -> Callable[[str], str]:
    """Return a function that makes an executable with a given body in Pulumi's place."""

    def make(body: str) -> str:
        path = tmp_path / "pulumi"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    return make
