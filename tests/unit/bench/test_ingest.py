from typing import Any

import pytest

from hapacs.bench import footprint, ingest
from hapacs.bench.ingest import Options
from hapacs.dicom import Peer
from hapacs.errors import HapacsError
from hapacs.load import burst
from hapacs.load.burst import Outcome
from hapacs.load.images import Study
from tests.unit.bench import fakes

OPTIONS = Options(associations=3, instances=10, rows=16, rounds=3)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> fakes.World:
    return fakes.World(monkeypatch)


def answer(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], **changed: Any) -> list[tuple[str, list[Study]]]:
    """Let each side take so long for a round, and return what was sent."""
    sent: list[tuple[str, list[Study]]] = []

    def send(_: Any, peer: Peer, studies: list[Study]) -> Outcome:
        sent.append((peer.ae_title, studies))
        count = sum(len(study.images) for study in studies)
        plain: dict[str, Any] = {"seconds": seconds[peer.ae_title], "responses": [0.1] * count, "cpu_s": 0.2}
        return Outcome(**plain | changed)

    monkeypatch.setattr(burst, "send", send)
    return sent


def test_the_sides_take_turns_and_get_the_same_images(world: fakes.World, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = answer(monkeypatch, {"BARE": 0.1, "STORE": 0.2})
    found = ingest.run(fakes.site(), OPTIONS)
    turns = ["STORE", "BARE", "BARE", "STORE", "STORE", "BARE", "BARE", "STORE"]
    assert [side for side, _ in sent] == [side for side in turns for _ in "ab"]
    all_of_them, alone = sent[::2], sent[1::2]
    for first, second in [*zip(all_of_them[::2], all_of_them[1::2]), *zip(alone[::2], alone[1::2])]:  # noqa: B905
        assert first[1] is second[1]
    names = [image.sop_instance for _, studies in all_of_them[::2] for study in studies for image in study.images]
    assert len(set(names)) == len(names) == 4 * OPTIONS.instances
    assert (found["ratio"], found["site_per_s"], found["bare_per_s"], found["failed"]) == (0.5, 50, 100, 0)
    # The first round of each side warms up.
    assert found["site"]["instances"] == 3 * OPTIONS.instances
    assert found["site"]["cpu_ms_per_instance"] == {
        "orthanc-store": 50.0, "kernel and others": 30.0, "client": 20.0,
    }  # fmt: skip
    assert found["site"]["cpu_ms_per_instance_by_node"] == {"n1": 50.0}
    assert world.events == [("room", 2 * OPTIONS.image_bytes), "bare runs", "bare is gone", ("removed", 4 * 4)]


@pytest.mark.usefixtures("world")
def test_one_association_alone_is_measured_in_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = answer(monkeypatch, {"BARE": 0.1, "STORE": 0.2})
    found = ingest.run(fakes.site(), OPTIONS)
    assert [len(studies) for _, studies in sent] == [3, 1] * 8
    assert {len(study.images) for _, studies in sent[1::2] for study in studies} == {3}
    alone = found["alone"]
    assert (alone["associations"], alone["ratio"], alone["site_per_s"], alone["bare_per_s"]) == (1, 0.5, 15, 30)
    assert "alone" not in ingest.run(fakes.site(), Options(associations=1, instances=3, rows=16, rounds=1))


@pytest.mark.usefixtures("world")
def test_lost_acknowledged_image_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, {"BARE": 0.1, "STORE": 0.2})
    monkeypatch.setattr(footprint, "found", lambda _, studies: sum(len(study.images) for study in studies) - 2)
    assert ingest.run(fakes.site(), OPTIONS)["failed"] == 2


@pytest.mark.usefixtures("world")
def test_refused_images_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, {"BARE": 0.1, "STORE": 0.2}, failures=["status 0xA700"])
    found = ingest.run(fakes.site(), OPTIONS)
    assert found["failed"] == 16
    assert found["failures"] == ["status 0xA700"] * 5


def test_images_are_removed_after_an_error(world: fakes.World, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, {"BARE": 0.1, "STORE": 0.2}, responses=[], failures=["no answer"])
    with pytest.raises(HapacsError, match="site stored no image: no answer"):
        ingest.run(fakes.site(), OPTIONS)
    assert world.events[-2:] == ["bare is gone", ("removed", 3)]


@pytest.mark.parametrize(("instances", "shares"), [(10, [4, 3, 3]), (3, [1, 1, 1])])
def test_every_association_has_its_share(instances: int, shares: list[int]) -> None:
    studies = ingest.studies(Options(associations=3, instances=instances, rows=16))
    assert [len(study.images) for study in studies] == shares
    assert len({study.patient for study in studies}) == 3
