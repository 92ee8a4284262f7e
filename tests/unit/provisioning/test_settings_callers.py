"""Checks of AE titles, callers and the controller."""

from typing import Any

import pytest

from hapacs import ae_titles
from tests.unit.provisioning.conftest import Data, Problems

P = "sites.primary"


@pytest.mark.parametrize(
    "field",
    [
        f"{P}.dicom.store_ae",
        f"{P}.dicom.query_ae",
        "callers.0.ae_title",
        "verify.ae_title",
    ],
)
@pytest.mark.parametrize(
    ("title", "said"),
    [
        ("CT#1", None),
        ("CT/1", None),
        ('A"B', None),
        ("BACK\\SLASH", "no backslash"),
        (ae_titles.HEALTH_CHECK, "belongs to the balancer's health check"),
        ("WORKSTATION", "already used by"),
    ],
)
def test_every_title_is_judged_by_the_same_rule(
    data: Data, problems: Problems, field: str, title: str, said: str | None
) -> None:
    *path, key = field.split(".")
    holder: Any = data
    for part in path:
        holder = holder[int(part) if part.isdecimal() else part]
    holder[key] = title
    found = problems(data)
    if said is None:
        assert found == {}
    else:
        [message] = found.values()
        assert said in message
        assert said == "already used by" or set(found) == {field}


def test_caller_outside_the_client_networks(data: Data, problems: Problems) -> None:
    data["callers"][0]["networks"].append("192.0.2.0/24")
    assert "192.0.2.0/24 is in no site's networks.clients" in problems(data)["callers.0.networks"]


def test_caller_with_no_network_in_any_site(with_dr: Data, problems: Problems) -> None:
    with_dr["callers"][0]["networks"] = ["10.1.0.0/16", "10.2.0.1/32"]
    assert problems(with_dr) == {
        "callers.0.networks": "10.2.0.1/32 is in no site's networks.clients, so the firewall drops it; "
        "add it to one of them"
    }


def test_only_a_caller_that_stores_can_yield(data: Data, problems: Problems) -> None:
    data["callers"][0]["yields"] = True
    assert problems(data) == {}
    data["callers"][0]["may"].remove("store")
    assert "has no images to refuse" in problems(data)["callers.0.yields"]


def test_move_destination_is_a_host_and_a_port(data: Data, problems: Problems) -> None:
    del data["callers"][1]["port"]
    assert "go together" in problems(data)["callers.1"]


def test_move_without_any_destination(data: Data, problems: Problems) -> None:
    del data["callers"][1]["host"], data["callers"][1]["port"]
    assert "no caller has a host and a port" in problems(data)["callers.1"]
    data["callers"][1]["may"].remove("move")
    assert problems(data) == {}


def test_move_may_go_to_another_caller(data: Data, problems: Problems) -> None:
    data["callers"][0] |= {"host": "10.89.77.1", "port": 104}
    del data["callers"][1]["host"], data["callers"][1]["port"]
    assert problems(data) == {}


@pytest.mark.parametrize("host", ["10.89.77.10", "10.89.77.12"])
def test_move_destination_is_no_address_of_the_site(data: Data, problems: Problems, host: str) -> None:
    data["callers"][1]["host"] = host
    assert f"{host} is the address of {P}." in problems(data)["callers.1.host"]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("10.89.77.10", f"is the virtual address of {P}"),
        ("10.89.77.12", f"is the address of {P}.nodes.pacs2"),
        ("10.89.76.10", "is the virtual address of sites.dr"),
        ("10.89.76.11", "is the address of sites.dr.nodes.dr1"),
    ],
)
@pytest.mark.parametrize("field", ["verify.host", "sites.dr.networks.controller"])
def test_controller_has_an_address_of_its_own(
    with_dr: Data, problems: Problems, field: str, address: str, said: str
) -> None:
    for site in with_dr["sites"].values():
        site["networks"] |= {"management": ["10.89.76.0/23"], "clients": ["10.89.76.0/23"]}
    holder = with_dr["verify"] if field == "verify.host" else with_dr["sites"]["dr"]["networks"]
    holder[field.rpartition(".")[2]] = address
    found = problems(with_dr)
    assert list(found) == [field]
    assert f"{address} {said}" in found[field]


def test_operation_named_twice(data: Data, problems: Problems) -> None:
    data["callers"][0]["may"] = ["echo", "store", "echo"]
    assert "echo is named 2 times" in problems(data)["callers.0.may"]


@pytest.mark.parametrize("field", ["management", "clients"])
def test_verify_is_let_in_everywhere(data: Data, primary: Data, problems: Problems, field: str) -> None:
    primary["networks"][field] = ["10.89.77.2/32"]
    data["callers"] = []
    assert f"outside sites.primary.networks.{field}" in problems(data)["verify.host"]


@pytest.mark.parametrize("field", ["management", "clients"])
def test_the_controller_is_let_in_by_the_address_that_a_site_sees(
    with_dr: Data, problems: Problems, field: str
) -> None:
    with_dr["callers"] = []
    with_dr["sites"]["dr"]["networks"][field] = ["10.89.77.1/32"]
    assert f"10.89.76.1 is outside sites.dr.networks.{field}" in problems(with_dr)["sites.dr.networks.controller"]


def test_a_caller_that_may_ask_for_a_worklist_needs_a_site_with_one(data: Data, problems: Problems) -> None:
    data["callers"][0]["may"].append("worklist")
    data["sites"]["primary"].pop("worklist", None)
    assert "no site has a worklist" in problems(data)["callers.0.may"]
    data["sites"]["primary"]["worklist"] = {"ae_title": "SCHEDULE", "users": ["ris"]}
    assert problems(data) == {}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ae_title": "HAPACS"}, f"{P}.worklist.ae_title"),
        ({"users": []}, f"{P}.worklist.users"),
        ({"keep_days": 0}, f"{P}.worklist.keep_days"),
        ({"keep_days": 366}, f"{P}.worklist.keep_days"),
    ],
)
def test_a_worklist_has_a_title_of_its_own_users_and_an_end(
    data: Data, problems: Problems, change: dict[str, Any], field: str
) -> None:
    data["sites"]["primary"]["worklist"] = {"ae_title": "SCHEDULE", "users": ["ris"], **change}
    assert set(problems(data)) == {field}
