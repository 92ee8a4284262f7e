"""All problems at once: a mistake in one field hides no mistake elsewhere, and makes none up."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hapacs.settings import Settings
from hapacs.settings.partial import UNSOUND, UnsoundError, build
from hapacs.settings.problem import Problem, each
from tests.unit.provisioning.conftest import Data, Problems

P = "sites.primary"


def test_ten_mistakes_are_ten_problems(with_dr: Data, problems: Problems) -> None:
    primary, dr = with_dr["sites"]["primary"], with_dr["sites"]["dr"]
    with_dr["verfy"] = {}
    with_dr["callers"][0]["networks"].append("192.0.2.0/24")
    with_dr["callers"][1]["may"].append("delete")
    primary["disks"]["das"]["size_bytes"] = "4GiB each"
    primary["dicom"]["port"] = "11112"
    primary["https_port"] = 22
    primary["nodes"]["pacs1"]["address"] = "10.89.77.300"
    primary["nodes"]["pacs2"]["address"] = "192.0.2.1"
    primary["vip"]["address"] = "10.89.77.13"
    primary["policy"]["cas_replication"] = "020"
    dr["networks"]["cluster"] = "10.89.0.0/16"
    dr["dicom"]["store_ae"] = "HAPACS"
    assert set(problems(with_dr)) == {
        "verfy",
        "callers.0.networks",
        "callers.1.may.4",
        f"{P}.disks.das.size_bytes",
        f"{P}.dicom.port",
        f"{P}.https_port",
        f"{P}.nodes.pacs1.address",
        f"{P}.nodes.pacs2.address",
        f"{P}.vip.address",
        f"{P}.policy.cas_replication",
        "sites.dr.networks.cluster",
        "sites.dr.dicom.store_ae",
    }


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (lambda data, _: data.update(target="lab"), "target"),
        (lambda data, _: data.update(callers=None), "callers"),
        (lambda data, _: data.update(callers=[3]), "callers.0"),
        (lambda data, _: data.pop("verify"), "verify"),
        (lambda _, primary: primary.update(role="main"), f"{P}.role"),
        (lambda _, primary: primary.pop("networks"), f"{P}.networks"),
        (lambda _, primary: primary.update(nodes=[]), f"{P}.nodes"),
        (lambda _, primary: primary["nodes"].update(pacs2=None), f"{P}.nodes.pacs2"),
        (lambda _, primary: primary["nodes"].update(PACS2=primary["nodes"].pop("pacs2")), f"{P}.nodes.PACS2"),
        (lambda _, primary: primary["nodes"]["pacs2"].pop("zone"), f"{P}.nodes.pacs2.zone"),
        (lambda _, primary: primary.update(pools={"web": ["pacs1"]}), f"{P}.pools.web"),
        (lambda _, primary: primary.update(disks=None), f"{P}.disks"),
        (lambda _, primary: primary["vip"].pop("router_id"), f"{P}.vip.router_id"),
        (lambda _, primary: primary["dicom"].update(store_ae=7), f"{P}.dicom.store_ae"),
        (
            lambda _, primary: primary["policy"].update(das_minimum_free_byte="512MiB"),
            f"{P}.policy.das_minimum_free_byte",
        ),
    ],
)
def test_one_mistake_is_one_problem_and_hides_none_of_another_site(
    with_dr: Data, problems: Problems, spoil: Callable[[Any, Any], object], field: str
) -> None:
    data = copy.deepcopy(with_dr)
    spoil(data, data["sites"]["primary"])
    mistakes = set(problems(data))
    assert field in mistakes
    # Without any pool of the right name the site has no nodes, which is a mistake as well.
    assert len(mistakes) == 1 or field == f"{P}.pools.web"
    data["sites"]["dr"]["vip"]["address"] = "192.0.2.1"
    assert set(problems(data)) == mistakes | {"sites.dr.vip.address"}


def test_misspelt_key_does_not_leave_the_default_to_the_checks(data: Data, primary: Data, problems: Problems) -> None:
    """The default of das_minimum_free_bytes is larger than the lab's DAS."""
    primary["policy"]["das_minimum_free_byte"] = primary["policy"].pop("das_minimum_free_bytes")
    assert problems(data) == {
        f"{P}.policy.das_minimum_free_byte": "there is no such setting; did you mean das_minimum_free_bytes?"
    }


def test_refused_value_of_a_list_does_not_make_it_empty(data: Data, problems: Problems) -> None:
    data["callers"][0]["networks"] = ["10.0.0.0"]
    assert set(problems(data)) == {"callers.0.networks.0"}


def test_sound_settings_are_built_whole(data: Data) -> None:
    assert build(Settings, data) == Settings.model_validate(data)


def test_unsound_parts_are_known_as_such(data: Data, primary: Data) -> None:
    primary["nodes"]["pacs1"]["address"] = "here"
    del primary["vip"]
    site = build(Settings, data).sites["primary"]
    assert site.nodes["pacs1"].address is UNSOUND
    assert site.nodes["pacs1"].zone == "rack1"
    assert site.vip.address is UNSOUND
    assert site.https_port == 443


@pytest.mark.parametrize(
    "use",
    [
        bool, len, int, float, str, repr, hash, iter, range, "{}".format, [1].index, lambda it: it == 1,
        lambda it: 1 in it, lambda it: it < 1, lambda it: it + 1, lambda it: 1 - it, lambda it: it[0],
        lambda it: it.part.of.it() * 2,
    ],
)  # fmt: skip
def test_every_use_of_an_unsound_value_ends_the_check(use: Callable[[Any], object]) -> None:
    with pytest.raises(UnsoundError):
        use(UNSOUND)


def test_check_keeps_the_problems_found_before_an_unsound_value() -> None:
    @each
    def check() -> Iterator[Problem]:
        yield Problem("a", "first")
        if UNSOUND:
            yield Problem("b", "second")

    assert list(check()) == [Problem("a", "first")]
