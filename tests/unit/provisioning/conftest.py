"""Settings to start from: the lab's own, as data that a test may change."""

import copy
from pathlib import Path

import pytest
import yaml

from hapacs.settings import SettingsError, parse

LAB = Path(__file__).parents[3] / "inventories/lab/settings.yaml"


@pytest.fixture
def data():
    """The lab's settings as plain data."""
    return yaml.safe_load(LAB.read_text())


@pytest.fixture
def primary(data):
    return data["sites"]["primary"]


@pytest.fixture
def with_dr(data):
    """The lab's settings with a second site of one node."""
    dr = copy.deepcopy(data["sites"]["primary"])
    dr |= {
        "role": "dr",
        "nodes": {"dr1": {"zone": "dr_rack1", "address": "10.89.78.11"}},
        "vip": {"address": "10.89.78.10", "router_id": 78},
        "dicom": {"store_ae": "HAPACS_DR", "query_ae": "HAPACS_DR_QR"},
    }
    dr["networks"] |= {"cluster": "10.89.78.0/24", "gateway": "10.89.78.1"}
    dr["policy"]["cas_replication"] = "000"
    data["sites"]["dr"] = dr
    return data


@pytest.fixture
def problems():
    """Return a function from data to its problems: {field: message}, empty when the settings are sound."""

    def find(data):
        try:
            parse(data)
        except SettingsError as error:
            return {problem.field: problem.message for problem in error.problems}
        return {}

    return find
