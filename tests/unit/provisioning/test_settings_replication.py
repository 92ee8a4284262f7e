"""Copies at the second site: who sends, to whom, and who is let in."""

import pytest

from hapacs import contract
from hapacs.settings import parse
from tests.unit.provisioning.conftest import Data, Problems

P = "sites.primary.policy.replicate"


def replicating(data: Data, site: str = "primary", **more: object) -> Data:
    data["sites"][site].setdefault("policy", {})["replicate"] = {"enabled": True, **more}
    return data


def test_nothing_is_copied_unless_it_is_wanted(with_dr: Data) -> None:
    del with_dr["sites"]["primary"]["policy"]["replicate"]
    settings = parse(with_dr)
    for site in settings.sites.values():
        assert contract.also(settings, site) is None
        assert contract.second_site(settings, site) is None
        assert contract.replicators(settings, site) == []


def test_the_primary_site_sends_to_the_second_one_which_lets_its_nodes_in(with_dr: Data, problems: Problems) -> None:
    replicating(with_dr, mb_per_s=40, limited="daily 06:00-18:00")
    assert problems(with_dr) == {}
    settings = parse(with_dr)
    primary, second = (
        next(site for site in settings.sites.values() if site.role == role) for role in ("primary", "dr")
    )
    found = contract.second_site(settings, primary)
    assert found is not None
    assert (found.url, found.mb_per_s, found.past) == (f"https://{second.vip.address}:8407", 40, True)
    for site, other in ((second, primary), (primary, second)):
        let_in = contract.replicators(settings, site)
        assert {f"{other.nodes[node].address}/32" for node in other.members("pacs")} <= set(let_in)
    assert contract.routing(primary, found).second_site == found


def test_the_second_site_sends_back_with_its_own_limits_and_answers_to_both_names(
    with_dr: Data, problems: Problems
) -> None:
    replicating(with_dr, mb_per_s=40)
    (name,) = [name for name, site in with_dr["sites"].items() if site["role"] == "dr"]
    with_dr["sites"][name].setdefault("policy", {})["replicate"] = {"mb_per_s": 5}
    assert problems(with_dr) == {}
    settings = parse(with_dr)
    primary, second = settings.sites["primary"], settings.sites[name]
    found = contract.second_site(settings, second)
    assert found is not None
    assert (found.name, found.role, found.url) == ("primary", "dr", f"https://{primary.vip.address}:8407")
    assert found.mb_per_s == 5
    also = contract.also(settings, second)
    assert also is not None
    assert (also.store_ae, also.query_ae) == (primary.dicom.store_ae, primary.dicom.query_ae)
    assert contract.also(settings, primary) is None


@pytest.mark.parametrize("count", [0, 2])
def test_there_must_be_one_second_site(with_dr: Data, problems: Problems, count: int) -> None:
    replicating(with_dr)
    names = [name for name, site in with_dr["sites"].items() if site["role"] == "dr"]
    if count == 0:
        for name in names:
            del with_dr["sites"][name]
    else:
        with_dr["sites"]["third"] = with_dr["sites"][names[0]]
    assert "images are copied to the one site with the role dr" in problems(with_dr)[f"{P}.enabled"]


def test_the_primary_site_switches_it_on_for_both(with_dr: Data, problems: Problems) -> None:
    (second,) = [name for name, site in with_dr["sites"].items() if site["role"] == "dr"]
    found = problems(replicating(with_dr, second))
    assert found[f"sites.{second}.policy.replicate.enabled"].startswith("the primary site's setting switches copies on")


def test_hours_of_a_limit_need_the_limit(with_dr: Data, problems: Problems) -> None:
    found = problems(replicating(with_dr, limited="daily 06:00-18:00"))
    assert found[f"{P}.limited"].startswith("it limits nothing without mb_per_s")
