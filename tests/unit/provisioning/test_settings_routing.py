"""Destinations and rules are checked with everything else: all mistakes at once, each with its field."""

from typing import Any

import pytest

from hapacs import contract
from hapacs.settings import parse
from hapacs_node.routing.destination import S3Destination
from tests.unit.provisioning.conftest import Data, Problems

R = "sites.primary.routing"
CLOUD: Data = {"kind": "dicomweb", "url": "https://cloud.example.org/dicom-web"}
BUCKET: Data = {
    "kind": "s3", "endpoint": "https://s3.example.org:9000", "bucket": "research", "user": "HAPACS",
    "credentials": "research",
}  # fmt: skip
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
    assert "a sender that the rule wants" in found[f"{R}.rules.0.destinations.0"]


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ({"one_of": ["CT", "MR"]}, {"equals": "CT"}),
        ({"matches": "C.*|MR"}, {"one_of": ["CT", "MR", "CR"]}),
        ({"present": True}, {"matches": "C.*"}),
        ({"at_least": 1}, {"at_least": 2, "at_most": 5}),
        ({"at_least": 1, "at_most": 9}, {"at_least": 1, "at_most": 9}),
    ],
)
def test_a_rule_that_a_wider_one_shadows_is_refused_and_the_other_order_is_not(
    data: Data, problems: Problems, wide: Data, narrow: Data
) -> None:
    rules = [rule(name, {"attribute": "Modality", **how}) for name, how in (("wide", wide), ("narrow", narrow))]
    assert "narrow has no effect: wide before it" in problems(routed(data, *rules))[f"{R}.rules.1"]
    if wide != narrow:
        assert problems(routed(data, *reversed(rules))) == {}


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ({"equals": "CT"}, {"one_of": ["CT", "MR"]}),
        ({"matches": "C."}, {"one_of": ["CT", "MR"]}),
        ({"present": True}, {"present": False}),
        ({"at_least": 2}, {"at_least": 1}),
        ({"at_least": 1, "at_most": 5}, {"at_least": 1}),
        ({"matches": "CT"}, {"matches": "C."}),
    ],
)
def test_a_rule_that_matches_more_than_the_one_before_it_is_accepted(
    data: Data, problems: Problems, wide: Data, narrow: Data
) -> None:
    rules = [rule(name, {"attribute": "Modality", **how}) for name, how in (("first", wide), ("second", narrow))]
    assert problems(routed(data, *rules)) == {}


def test_exceptions_of_the_earlier_rule_are_left_to_the_later_one(data: Data, problems: Problems) -> None:
    unless = [{"attribute": "BodyPartExamined", "equals": "HEAD"}]
    more = [{"attribute": "BodyPartExamined", "one_of": ["HEAD", "KNEE"]}]
    assert problems(routed(data, rule("most", CT, unless=unless), rule("rest", CT))) == {}
    found = problems(routed(data, rule("most", CT, unless=unless), rule("fewer", CT, unless=more)))
    assert "fewer has no effect" in found[f"{R}.rules.1"]


def test_a_condition_that_unless_excludes_is_refused(data: Data, problems: Problems) -> None:
    found = problems(routed(data, rule("never", CT, unless=[{"attribute": "Modality", "one_of": ["CT", "MR"]}])))
    assert found == {
        f"{R}.rules.0.when.0": "Modality (equals 'CT') is excluded by one of 'CT', 'MR' in unless, so no image "
        "matches; remove one of them"
    }


@pytest.mark.parametrize(
    ("first", "second"), [("daily 08:00-18:00", "daily 17:00-20:00"), ("daily 22:00-04:00", "Mon 03:00-05:00")]
)
def test_windows_of_equal_rules_that_overlap_are_refused(
    data: Data, problems: Problems, first: str, second: str
) -> None:
    found = problems(routed(data, rule("first", CT, during=first), rule("second", CT, during=second)))
    assert f"overlaps with {first} of first" in found[f"{R}.rules.1.during"]
    assert len(found) == 1


def test_a_window_inside_of_that_of_an_equal_rule_has_no_effect(data: Data, problems: Problems) -> None:
    rules = [rule("first", CT, during="daily 08:00-18:00"), rule("second", CT, during="Mon 09:00-10:00")]
    assert "second has no effect" in problems(routed(data, *rules))[f"{R}.rules.1"]


@pytest.mark.parametrize(
    ("first", "second"),
    [("daily 08:00-18:00", "daily 18:00-08:00"), ("Mon 08:00-10:00", "daily 08:00-18:00"), ("Mon 08:00-10:00", None)],
)
def test_windows_that_meet_or_are_an_exception_are_accepted(
    data: Data, problems: Problems, first: str, second: str | None
) -> None:
    assert problems(routed(data, rule("first", CT, during=first), rule("second", CT, during=second))) == {}


def test_a_rule_that_sends_images_of_a_storing_caller_back_to_it_is_refused(data: Data, problems: Problems) -> None:
    sender = next(caller["ae_title"] for caller in data["callers"] if "store" in caller["may"])
    found = problems(routed(data, rule("all"), ae_title=sender))
    assert "a caller that stores here, so its images would go back to it" in found[f"{R}.rules.0.destinations.0"]
    unless = [{"attribute": "calling_ae", "equals": sender}]
    assert problems(routed(data, rule("all", unless=unless), ae_title=sender)) == {}
    only = {"attribute": "calling_ae", "equals": "ANOTHER"}
    assert problems(routed(data, rule("all", only), ae_title=sender)) == {}
    both = {"attribute": "calling_ae", "one_of": ["ANOTHER", sender]}
    assert (
        "a sender that the rule wants"
        in problems(routed(data, rule("all", both), ae_title=sender))[f"{R}.rules.0.destinations.0"]
    )


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


def test_a_destination_that_can_be_asked_is_needed_to_send_only_what_it_lacks(data: Data, problems: Problems) -> None:
    found = problems(routed(data, rule("priors", only_if_absent=True)))
    assert "workstation can't be asked what it has" in found[f"{R}.rules.0.destinations.0"]
    for asked in ({"query_ae": "READING_QR"}, {"confirm": "query"}):
        assert problems(routed(data, rule("priors", only_if_absent=True), **asked)) == {}
    assert problems(with_cloud(data, only_if_absent=True)) == {}


def test_priors_need_a_destination_that_can_be_asked(data: Data, problems: Problems) -> None:
    wish = {"name": "priors", "destinations": ["workstation", "nowhere"]}
    routed(data, rule("all"))["sites"]["primary"]["routing"]["prefetch"] = [wish, {"name": "priors"}]
    found = problems(data)
    assert "workstation can't be asked what it has" in found[f"{R}.prefetch.0.destinations.0"]
    assert "there is no destination nowhere" in found[f"{R}.prefetch.0.destinations.1"]
    assert "priors is named twice" in found[f"{R}.prefetch.1.name"]
    routed(data, rule("all"), query_ae="READING_QR")["sites"]["primary"]["routing"]["prefetch"] = [
        {"name": "priors", "destinations": ["workstation"]}
    ]
    assert problems(data) == {}


def test_a_destination_that_reports_its_commitment_has_to_be_let_in(data: Data, problems: Problems) -> None:
    asked = {"confirm": "commitment"}
    found = problems(routed(data, rule("all"), calling_ae="OTHER", **asked))
    field = f"{R}.destinations.workstation"
    assert "READING brings its reports as a caller" in found[f"{field}.confirm"]
    assert "reports would be sent to OTHER" in found[f"{field}.calling_ae"]
    networks = data["callers"][0]["networks"]
    data["callers"].append({"ae_title": "READING", "networks": networks, "may": ["report"]})
    assert problems(routed(data, rule("all"), **asked)) == {}


def with_cloud(data: Data, *, only_if_absent: bool = False, **values: Any) -> Data:
    """Give the primary site a destination of DICOMweb."""
    all_ = rule("all", destinations=["cloud"], only_if_absent=only_if_absent)
    routing = {"destinations": {"cloud": CLOUD | values}, "rules": [all_]}
    data["sites"]["primary"]["routing"] = routing
    return data


@pytest.mark.parametrize(
    "values", [{}, {"credentials": "cloud"}, {"user": "u", "credentials": "cloud", "connections": 4}]
)
def test_a_destination_of_dicomweb_is_accepted_and_reaches_the_nodes(
    data: Data, problems: Problems, values: Data
) -> None:
    assert problems(with_cloud(data, **values)) == {}
    found = contract.routing(parse(data).sites["primary"]).destinations["cloud"]
    assert found.model_dump(exclude_defaults=True) == CLOUD | values


@pytest.mark.parametrize(
    ("field", "values", "said"),
    [
        (".kind", {"kind": "ftp"}, "the kind is not known; write one of dicom, dicomweb, folder, s3"),
        (".url", {"url": "cloud.example.org"}, "write the root of its DICOMweb services"),
        (".url", {"url": "https://cloud.example.org/dicom-web/"}, "without a slash last"),
        (".url", {"url": "https://cloud.example.org:0"}, "has no port between 1 and 65535"),
        (".url", {"url": "https://10.89.77.10/dicom-web"}, "images would come back"),
        (".ae_title", {"ae_title": "CLOUD"}, "there is no such setting"),
        (".connection", {"connection": 3}, "did you mean connections?"),
        ("", {"user": "u"}, "user is given without credentials"),
        ("", {"url": "http://cloud.example.org", "credentials": "cloud"}, "credentials would be sent unencrypted"),
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


def with_folder(data: Data, path: str) -> Data:
    """Give the primary site a destination that is a folder."""
    folder = {"kind": "folder", "path": path}
    routing = {"destinations": {"share": folder}, "rules": [rule("all", destinations=["share"])]}
    data["sites"]["primary"]["routing"] = routing
    return data


def test_a_folder_is_accepted_and_reaches_the_nodes(data: Data, problems: Problems) -> None:
    assert problems(with_folder(data, "/mnt/research/incoming")) == {}
    found = contract.routing(parse(data).sites["primary"]).destinations["share"]
    assert found.model_dump(exclude_defaults=True) == {"kind": "folder", "path": "/mnt/research/incoming"}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/etc", "write the path of a folder below /srv, /mnt or /media"),
        ("/mnt", "write the path of a folder below"),
        ("/mnt/../etc", "write the path of a folder below"),
        ("/mnt/a b", "write the path of a folder below"),
        ("/mnt/research/", "without a slash last"),
        ("/srv/das/export", "is in /srv/das, which keeps the site's own data"),
        ("/srv/data", "is in /srv/data, which keeps the site's own data"),
    ],
)
def test_a_folder_elsewhere_is_refused(data: Data, problems: Problems, path: str, said: str) -> None:
    found = problems(with_folder(data, path))
    assert set(found) == {f"{R}.destinations.share.path"}
    assert said in found[f"{R}.destinations.share.path"]


def with_bucket(data: Data, **values: Any) -> Data:
    """Give the primary site a destination that is a bucket."""
    all_ = rule("all", destinations=["research"], only_if_absent=True)
    data["sites"]["primary"]["routing"] = {"destinations": {"research": BUCKET | values}, "rules": [all_]}
    return data


@pytest.mark.parametrize("values", [{}, {"prefix": "from/hapacs", "region": "eu-central-1", "path_style": False}])
def test_a_bucket_is_accepted_and_reaches_the_nodes(data: Data, problems: Problems, values: Data) -> None:
    assert problems(with_bucket(data, **values)) == {}
    found = contract.routing(parse(data).sites["primary"]).destinations["research"]
    assert found.model_dump(exclude_defaults=True) == BUCKET | values


@pytest.mark.parametrize(
    ("field", "values", "said"),
    [
        (".endpoint", {"endpoint": "http://s3.example.org"}, "with https and without a path"),
        (".endpoint", {"endpoint": "https://s3.example.org/research"}, "with https and without a path"),
        (".endpoint", {"endpoint": "https://s3.example.org:0"}, "has no port between 1 and 65535"),
        (".endpoint", {"endpoint": "https://10.89.77.10"}, "images would come back"),
        (".bucket", {"bucket": "Research"}, "3 to 63 small letters"),
        (".prefix", {"prefix": "/from"}, "without a slash first or last"),
        (".prefix", {"prefix": "from/../.."}, "without a slash first or last"),
        (".user", {"user": "A/B"}, "write the name of the access key"),
        (".credentials", {"credentials": None}, "is empty"),
        ("", {"bucket": "a.b.c", "path_style": False}, "can't be the name of a host with a certificate"),
        ("", {"endpoint": "https://192.0.2.7", "path_style": False}, "can't be the name of a host with a certificate"),
    ],
)
def test_a_wrong_bucket_says_what_to_write(data: Data, problems: Problems, field: str, values: Data, said: str) -> None:
    found = problems(with_bucket(data, **values))
    assert set(found) == {f"{R}.destinations.research{field}"}
    assert said in found[f"{R}.destinations.research{field}"]


def test_requests_to_a_bucket_go_to_the_endpoint_or_to_the_bucket_in_front_of_its_name() -> None:
    assert S3Destination.model_validate(BUCKET).address == "https://s3.example.org:9000"
    own = S3Destination.model_validate(BUCKET | {"path_style": False})
    assert own.address == "https://research.s3.example.org:9000"


def test_a_caller_that_ends_studies_has_to_be_one_that_stores(data: Data, problems: Problems) -> None:
    storing = next(caller["ae_title"] for caller in data["callers"] if "store" in caller["may"])
    data["sites"]["primary"]["routing"] = {"complete_by_commitment": [storing, "NOBODY"]}
    found = problems(data)
    assert list(found) == ["sites.primary.routing.complete_by_commitment.1"]
    assert "NOBODY is no caller that may store" in found["sites.primary.routing.complete_by_commitment.1"]
