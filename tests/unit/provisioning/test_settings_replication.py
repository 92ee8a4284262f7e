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
    settings = parse(with_dr)
    for site in settings.sites.values():
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
    assert contract.second_site(settings, second) is None
    assert contract.replicators(settings, primary) == []
    let_in = contract.replicators(settings, second)
    assert {f"{primary.nodes[node].address}/32" for node in primary.members("pacs")} <= set(let_in)
    assert contract.routing(primary, found).second_site == found


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


def test_the_second_site_sends_nothing(with_dr: Data, problems: Problems) -> None:
    (second,) = [name for name, site in with_dr["sites"].items() if site["role"] == "dr"]
    found = problems(replicating(with_dr, second))
    assert found[f"sites.{second}.policy.replicate.enabled"].startswith("only the primary site copies its images")


def test_hours_of_a_limit_need_the_limit(with_dr: Data, problems: Problems) -> None:
    found = problems(replicating(with_dr, limited="daily 06:00-18:00"))
    assert found[f"{P}.limited"].startswith("it limits nothing without mb_per_s")
