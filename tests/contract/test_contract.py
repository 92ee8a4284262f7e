"""The inventory contract: its schema, and what is refused. The golden files are compared in `test_inventories`.

After a wanted change of the contract: ``UPDATE_GOLDEN=1 .venv/bin/pytest tests/contract`` rewrites the files;
look at the difference before you commit it.
"""

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from hapacs import contract
from hapacs.settings import load
from tests.contract import pulumi_mocks

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("lab.json")
SCHEMA = Path(contract.__file__).with_name("contract.schema.json")


@pytest.fixture(scope="module")
def exported() -> dict[str, Any]:
    return pulumi_mocks.run(load(ROOT / "inventories/lab/settings.yaml")).inventory


def same_as_committed(path: Path, text: str) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} is out of date: UPDATE_GOLDEN=1 .venv/bin/pytest tests/contract"


def test_committed_schema_is_the_models_schema() -> None:
    same_as_committed(SCHEMA, contract.to_text(contract.json_schema()))


def test_golden_contract_fits_the_schema() -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(GOLDEN.read_text()), schema)


def test_schema_refuses_another_version() -> None:
    golden = json.loads(GOLDEN.read_text()) | {"schema_version": 2}
    with pytest.raises(jsonschema.ValidationError, match="1 was expected"):
        jsonschema.validate(golden, json.loads(SCHEMA.read_text()))


def test_contract_survives_a_round_trip(exported: dict[str, Any]) -> None:
    assert contract.Contract.model_validate_json(json.dumps(exported)).plain() == exported


def test_members_must_be_nodes(exported: dict[str, Any]) -> None:
    broken = json.loads(json.dumps(exported))
    broken["sites"]["primary"]["members"]["etcd"].append("ghost")
    with pytest.raises(ValidationError, match=r"members\.etcd names unknown nodes: ghost"):
        contract.Contract.model_validate(broken)


def test_nodes_that_keep_images_must_have_disks(exported: dict[str, Any]) -> None:
    broken = json.loads(json.dumps(exported))
    broken["sites"]["dr"]["nodes"]["dr1"]["das_devices"] = []
    with pytest.raises(ValidationError, match=r"nodes\.dr1\.das_devices is empty"):
        contract.Contract.model_validate(broken)


def test_only_the_callers_of_hapacs_itself_are_added(exported: dict[str, Any]) -> None:
    titles = [caller["ae_title"] for caller in exported["sites"]["primary"]["callers"]]
    assert titles == ["MODALITY", "WORKSTATION", "HAPACS_PROBE", "HAPACS_VERIFY"]
