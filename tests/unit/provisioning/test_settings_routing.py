"""Destinations and rules are checked with everything else: all mistakes at once, each with its field."""

from typing import Any

import pytest

from hapacs import contract
from hapacs.settings import parse
from tests.unit.provisioning.conftest import Data, Problems

R = "sites.primary.routing"
CLOUD: Data = {"kind": "dicomweb", "url": "https://cloud.example.org/dicom-web"}
CT: Data = {"attribute": "Modality", "equals": "CT"}


PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def rule(name: str, *when: Data, **more: Any) -> Data:
    return {"name": name, "when": list(when), "destinations": ["workstation"], **more}


def routed(data: Data, *rules: Data, **destination: Any) -> Data:
    """Give the primary site rules and one destination."""
    workstation = {"ae_title": "READING", "host": "192.0.2.50", "port": 11112} | destination
    data["sites"]["primary"]["routing"] = {"destinations": {"workstation": workstation}, "rules": list(rules)}
    return data


def test_settings_without_rules_route_nothing(data: Data) -> None:
    assert parse(data).sites["primary"].routing.rules == ()


def test_sound_rules_are_accepted(data: Data, problems: Problems) -> None:
    rules = [rule("urgent-ct", CT, {"attribute": "calling_ae", "equals": "ER"}, priority="urgent"), rule("all-ct", CT)]
    assert problems(routed(data, *rules)) == {}


def test_mistakes_of_several_rules_and_of_other_settings_are_reported_together(data: Data, problems: Problems) -> None:
    data["callers"][0]["networks"].append("192.0.2.0/24")
    found = problems(
        routed(
            data,
            rule("all-ct", CT),
            rule("nowhere", destinations=["nowhere"]),
            rule("all-ct", CT, {"attribute": "BodyPartExamined", "equals": "HEAD"}),
            rule("never", {"attribute": "calling_ae", "equals": "A"}, {"attribute": "calling_ae", "equals": "B"}),
            rule("unknown", {"attribute": "Modalty", "equals": "CT"}),
            rule("both", {"attribute": "Modality", "equals": "CT", "matches": "C.*"}),
            rule("closed", during="daily 10:00-10:00"),
        )
    )
    said = {
        f"{R}.rules.1.destinations.0": "there is no destination nowhere (known: workstation)",
        f"{R}.rules.2.name": "all-ct is already the name of rules.0",
        f"{R}.rules.2": "all-ct has no effect: all-ct before it matches every image",
        f"{R}.rules.3.when.1": "can't be equals 'A' and equals 'B', so no image matches",
        f"{R}.rules.4.when.0.attribute": "'Modalty' is no attribute; write a keyword",
        f"{R}.rules.5.when.0": "give exactly one of equals, one_of, matches, present",
        f"{R}.rules.6.during": "is never open",
        "callers.0.networks": "is in no site's networks.clients",
    }
    assert set(found) == set(said)
    for field, words in said.items():
        assert words in found[field]


@pytest.mark.parametrize("host", ["10.89.77.10", "10.89.77.12"])
def test_a_destination_at_the_site_itself_is_refused(data: Data, problems: Problems, host: str) -> None:
    found = problems(routed(data, rule("all"), host=host))
    assert "images would come back" in found[f"{R}.destinations.workstation.host"]


def test_sites_that_send_to_each_other_are_refused_and_one_direction_is_not(with_dr: Data, problems: Problems) -> None:
    data = routed(with_dr, rule("all"), host="10.89.76.10")
    assert problems(data) == {}
    back = {"ae_title": "HAPACS", "host": "10.89.77.10", "port": 11112}
    data["sites"]["dr"]["routing"] = {"destinations": {"back": back}, "rules": [rule("all", destinations=["back"])]}
    found = problems(data)
    assert set(found) == {f"{R}.destinations.workstation.host", "sites.dr.routing.destinations.back.host"}
    assert all("would go round" in message for message in found.values())


def test_a_rule_that_sends_back_to_the_sender_is_refused(data: Data, problems: Problems) -> None:
    found = problems(routed(data, rule("back", {"attribute": "calling_ae", "equals": "READING"})))
    assert "the sender that the rule wants" in found[f"{R}.rules.0.destinations.0"]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("port", 0, "0 is too small; write at least 1"),
        ("host", "ws:11112/x", "write an address or a host name, without the port"),
        ("ae_title", "TOO_LONG_FOR_AN_AE", "write an AE title"),
        ("window", "20-6", "write a day (Mon to Sun, or daily) and two times in UTC"),
        ("tls", "maybe", "'maybe' is neither true nor false"),
        ("authority", "MIIB", "write the certificates in PEM"),
        ("mb_per_s", float("nan"), "nan is no number; write one, without quotes"),
        ("associationz", 3, "did you mean associations?"),
    ],
)
def test_a_wrong_value_of_a_destination_says_what_to_write(
    data: Data, problems: Problems, field: str, value: object, said: str
) -> None:
    assert said in problems(routed(data, rule("all"), **{field: value}))[f"{R}.destinations.workstation.{field}"]


def test_the_site_calls_a_destination_by_its_store_title_or_by_the_title_given(data: Data) -> None:
    plain = contract.routing(parse(routed(data, rule("all"))).sites["primary"])
    assert plain.destinations["workstation"].model_dump()["calling_ae"] == "HAPACS"
    named = contract.routing(parse(routed(data, rule("all"), calling_ae="CT9")).sites["primary"])
    assert named.destinations["workstation"].model_dump()["calling_ae"] == "CT9"


def with_cloud(data: Data, **values: Any) -> Data:
    """Give the primary site a destination of DICOMweb."""
    routing = {"destinations": {"cloud": CLOUD | values}, "rules": [rule("all", destinations=["cloud"])]}
    data["sites"]["primary"]["routing"] = routing
    return data


@pytest.mark.parametrize("values", [{}, {"secret": "cloud"}, {"user": "u", "secret": "cloud", "connections": 4}])
def test_a_destination_of_dicomweb_is_accepted_and_reaches_the_nodes(
    data: Data, problems: Problems, values: Data
) -> None:
    assert problems(with_cloud(data, **values)) == {}
    found = contract.routing(parse(data).sites["primary"]).destinations["cloud"]
    assert found.model_dump(exclude_defaults=True) == CLOUD | values


@pytest.mark.parametrize(
    ("field", "values", "said"),
    [
        (".kind", {"kind": "ftp"}, "the kind is not known; write one of dicom, dicomweb"),
        (".url", {"url": "cloud.example.org"}, "write the root of its DICOMweb services"),
        (".url", {"url": "https://cloud.example.org/dicom-web/"}, "without a slash last"),
        (".url", {"url": "https://cloud.example.org:0"}, "has no port between 1 and 65535"),
        (".url", {"url": "https://10.89.77.10/dicom-web"}, "images would come back"),
        (".ae_title", {"ae_title": "CLOUD"}, "there is no such setting"),
        (".conections", {"conections": 3}, "did you mean connections?"),
        ("", {"user": "u"}, "user is given without secret"),
        ("", {"url": "http://cloud.example.org", "secret": "cloud"}, "secret would be sent unencrypted"),
        ("", {"url": "http://cloud.example.org", "authority": PEM}, "authority is given without https"),
    ],
)
def test_a_wrong_destination_of_dicomweb_says_what_to_write(
    data: Data, problems: Problems, field: str, values: Data, said: str
) -> None:
    found = problems(with_cloud(data, **values))
    place = f"{R}.destinations.cloud{'' if field == '.kind' else field}"
    assert set(found) == {place}
    assert said in found[place]
