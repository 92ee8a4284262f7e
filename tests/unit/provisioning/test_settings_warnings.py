"""Settings that are allowed and seldom meant."""

import pytest

from hapacs.settings import parse, warnings
from tests.unit.provisioning.conftest import Data

P = "sites.main"


def fields(data: Data) -> set[str]:
    return {warning.field for warning in warnings(parse(data))}


def test_examples_have_none(hospital: Data, with_dr: Data) -> None:
    assert warnings(parse(hospital)) == []
    assert warnings(parse(with_dr)) == []


@pytest.mark.parametrize(
    ("mode", "days", "said"),
    [
        ("COMPLIANCE", 3, "a lock of 3 days is short"),
        ("GOVERNANCE", 3, "a lock of 3 days is short"),
        ("COMPLIANCE", 365, None),
        ("COMPLIANCE", 30 * 365, None),
        ("COMPLIANCE", 36500, "36500 days are 100 years"),
        ("GOVERNANCE", 36500, None),
    ],
)
def test_lock_that_is_unusually_short_or_long(hospital: Data, mode: str, days: int, said: str | None) -> None:
    hospital["sites"]["main"]["policy"] |= {"retention_mode": mode, "retention_days": days}
    found = warnings(parse(hospital))
    assert [warning.field for warning in found] == ([f"{P}.policy.retention_days"] if said else [])
    assert all(str(said) in warning.message for warning in found)


def test_site_of_a_single_node(hospital: Data) -> None:
    main = hospital["sites"]["main"]
    del main["nodes"]["pacs2"], main["nodes"]["pacs3"]
    main["policy"] |= {"tolerated_node_failures": 0, "cas_replication": "000"}
    assert fields(hospital) == {f"{P}.policy.tolerated_node_failures"}


def test_disks_that_may_be_emptied(hospital: Data) -> None:
    hospital["sites"]["main"]["nodes"]["pacs1"]["wipe_serials"] = ["DISK-0001"]
    assert fields(hospital) == {f"{P}.nodes.pacs1.wipe_serials"}


def test_caller_that_a_site_does_not_let_in(hospital: Data) -> None:
    hospital["sites"]["second"]["networks"]["clients"] = ["192.0.2.0/24", "203.0.113.96/28"]
    [warning] = warnings(parse(hospital))
    assert warning.field == "callers.0.networks"
    assert "CT1 can't reach that site" in warning.message


def test_caller_that_may_move_only_to_others(hospital: Data) -> None:
    hospital["callers"][0]["may"].append("move")
    assert fields(hospital) == {"callers.0"}
